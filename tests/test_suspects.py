"""Jobs that were running in a process that died: how they run again, and who is found out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from aiotask import App, WorkerLost

from .helpers import wait_until_async
from .workers import Workers

MODULE = """
import asyncio, os
from pathlib import Path
from aiotask import App

app = App({name!r})
place = Path({place!r})


def note(word):
    with open(place / "starts", "a") as file:
        file.write(f"{{word}} {{os.getpid()}}\\n")


@app.task
async def wait(number: int) -> int:
    note(f"job-{{number}}")
    while not (place / "open").exists():
        await asyncio.sleep(0.02)
    return number


@app.task
async def pill() -> None:
    note("pill")
    await asyncio.sleep(0.1)
    os._exit(70)
"""


class Scene:
    """A module with jobs that wait for a file, and what has started."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        (directory / "waiting.py").write_text(MODULE.format(name=name, place=str(directory)))

    def starts(self) -> list[tuple[str, int]]:
        path = self.directory / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, int(pid)) for word, pid in map(str.split, lines)]

    def often(self) -> Counter[str]:
        """How often each job has started."""
        return Counter(word for word, _ in self.starts())

    def open(self) -> None:
        (self.directory / "open").touch()


async def test_long_jobs_of_a_process_that_was_killed_run_beside_each_other_again(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    scene = Scene(tmp_path, app_name)
    workers.start("waiting", concurrency=1, app_dir=tmp_path)
    async with App(app_name, url=workers.url) as app:
        results = [app.s("waiting:wait", number).apply_async() for number in range(40)]
        await wait_until_async(lambda: len(scene.often()) == 40, description="all have started")
        ordinary = app.s("waiting:wait", 40).apply_async()
        await wait_until_async(lambda: len(scene.often()) == 41, description="another one has started")
        ((_, pid), *_) = scene.starts()

        os.kill(pid, signal.SIGKILL)

        # None of them ends before all of them run again.
        await wait_until_async(lambda: set(scene.often().values()) == {2}, description="all run again", timeout=60)
        # And then other jobs run beside them.
        late = app.s("waiting:wait", 41).apply_async()
        await wait_until_async(lambda: scene.often()["job-41"] == 1, description="another job runs beside them")
        scene.open()
        assert await asyncio.gather(*results, ordinary, late) == list(range(42))
        assert set(scene.often().values()) == {1, 2}


async def test_a_job_that_ends_its_process_is_found_among_long_ones(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    scene = Scene(tmp_path, app_name)
    workers.start("waiting", concurrency=1, app_dir=tmp_path)
    async with App(app_name, url=workers.url) as app:
        results = [app.s("waiting:wait", number).apply_async() for number in range(6)]
        await wait_until_async(lambda: len(scene.often()) == 6, description="all have started")

        pill = app.s("waiting:pill").apply_async()
        await wait_until_async(
            lambda: len({pid for _, pid in scene.starts()}) == 3, description="two processes have died", timeout=60
        )
        # From the second death on each runs alone to its end.
        scene.open()

        with pytest.raises(WorkerLost, match="3 processes died"):
            await pill.wait(60)
        assert await asyncio.gather(*results) == list(range(6))
        assert scene.often()["pill"] == 3
        assert max(scene.often()[f"job-{number}"] for number in range(6)) <= 3
