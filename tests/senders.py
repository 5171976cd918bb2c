"""Programs that send, each in a process of its own, and a worker of this process for their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

from aiotask import App

__all__ = ["pending", "ran", "run_program", "serving"]

PRELUDE = """
import asyncio, atexit, gc, logging, multiprocessing, os, signal, sys, threading, time
from aiotask import App, AiotaskError
app = App(os.environ["TEST_APP"], url=os.environ["TEST_URL"])

@app.task(name="jobs:add")
def add(a, b=2): return a + b

def outcome(call):
    try: return call()
    except Exception as error: return f"{type(error).__name__}: {error}"
"""


def run_program(
    folder: Path,
    url: str,
    name: str,
    body: str,
    *,
    before: str = "",
    python: str = sys.executable,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run a script that has an app with the task ``add``; it fails the test if it does not end in time.

    Args:
        before: what the script does before it imports aiotask.
    """
    script = folder / "program.py"
    script.write_text(before + PRELUDE + textwrap.dedent(body))
    return subprocess.run(
        [python, str(script)],
        env={**os.environ, "TEST_APP": name, "TEST_URL": url, "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def pending(url: str, name: str) -> int:
    """How many jobs wait in the queues of an app."""

    async def count() -> int:
        async with App(name, url=url).inspector() as inspector:
            return sum(queue.pending for queue in await inspector.queues())

    return asyncio.run(count())


def ran(url: str, name: str) -> list[int]:
    """Run the jobs that wait until there is none; the first arguments of them, in order."""
    arguments: list[int] = []
    app = App(name, url=url)

    @app.task(name="jobs:add")
    def add(a: int, b: int = 2) -> int:
        arguments.append(a)
        return a + b

    async def work() -> None:
        async with app.worker(burst=True) as worker:
            await worker.finished()

    asyncio.run(work())
    return sorted(arguments)


@contextlib.contextmanager
def serving(url: str, name: str) -> Iterator[list[int]]:
    """A worker in a thread of this process; the first arguments of the jobs that it ran."""
    arguments: list[int] = []
    app = App(name, url=url)

    @app.task(name="jobs:add")
    def add(a: int, b: int = 2) -> int:
        arguments.append(a)
        return a + b

    ready, over = threading.Event(), threading.Event()

    async def work() -> None:
        async with app.worker():
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(30)
        yield arguments
    finally:
        over.set()
        thread.join(30)
