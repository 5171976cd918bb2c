"""The app whose tasks these tests send, here and in scripts of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from aiotask import App


def make_app(url: str, name: str) -> App:
    app = App(name, url=url)

    @app.task
    def add(a: int, b: int = 2) -> int:
        return a + b

    @app.task
    async def aadd(a: int, b: int = 2) -> int:
        return a + b

    @app.task
    def fail(message: str) -> None:
        raise KeyError(message)

    @app.task
    async def stop_iteration() -> None:
        raise StopAsyncIteration("never as itself")

    @app.task
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    @app.task
    async def hold(path: str) -> str:
        while not os.path.exists(path):
            await asyncio.sleep(0.01)
        return "held"

    app.tasks = {task.__name__: task for task in (add, aadd, fail, stop_iteration, cancel_itself, hold)}  # type: ignore[attr-defined]
    return app


def pending_jobs(url: str, name: str) -> int:
    async def count() -> int:
        async with App(name, url=url).inspector() as inspector:
            return sum(queue.pending for queue in await inspector.queues())

    return asyncio.run(count())


def run_script(tmp_path: Path, url: str, name: str, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os, sys, threading
            from aiotask import App
            app = App(os.environ["TEST_APP"], url=os.environ["TEST_URL"])
            @app.task
            def add(a, b=2): return a + b
            """
        )
        + textwrap.dedent(body)
    )
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "TEST_APP": name, "TEST_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
