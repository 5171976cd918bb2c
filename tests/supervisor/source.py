"""A module of an app whose code changes while it is served."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiotask import App

from ..helpers import wait_until_async
from ..workers import Supervisor, Workers


class Source:
    """A module of one test that says which version of it is loaded."""

    def __init__(self, directory: Path, app: str) -> None:
        self.directory = directory
        self._app = app
        directory.mkdir()
        self.write("1")

    def write(self, version: str, more: str = "") -> None:
        path = self.directory / "versioned.py"
        path.with_suffix(".new").write_text(
            f"import os, time, asyncio\nfrom aiotask import App\napp = App({self._app!r})\n{more}\n"
            f"@app.task\ndef version():\n    return {version!r}, os.getpid()\n"
            "@app.task\ndef nap(seconds):\n    time.sleep(seconds)\n    return version()\n"
        )
        path.with_suffix(".new").replace(path)

    def start(self, workers: Workers, concurrency: int = 1, *options: str, wait: bool = True) -> Supervisor:
        # No compiled files: two versions may have the same size and second.
        return workers.start(
            "versioned",
            concurrency=concurrency,
            options=options,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            app_dir=self.directory,
            wait=wait,
        )


async def all_run(app: App, version: str) -> None:
    """Return once that is what answers, whoever is asked."""

    async def they_do() -> bool:
        answers = await asyncio.gather(*[app.s("versioned:version").apply_async() for _ in range(20)])
        return {answer for answer, _ in answers} == {version}

    await wait_until_async(they_do, description=f"all workers run version {version}")
