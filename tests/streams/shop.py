"""Generator tasks and tasks that report progress, for workers of any kind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiotask import App, current_job

from .saving import register_saving

__all__ = ["app", "make_app"]


def make_app(url: str | None, name: str) -> App:
    app = App(name, url=url)

    @app.task(name="numbers")
    async def numbers(count: int, pause: float = 0.0) -> AsyncIterator[int]:
        for number in range(1, count + 1):
            if pause:
                await asyncio.sleep(pause)
            yield number

    @app.task(name="numbers_sync")
    def numbers_sync(count: int) -> Iterator[int]:
        yield from range(1, count + 1)

    @app.task(name="failing")
    async def failing(count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield f"item {number}"
        raise ValueError("no more")

    _register_dying(app)
    _register_more(app)
    _register_steps(app)
    _register_endless(app)
    _register_large(app)
    register_saving(app)
    return app


def _register_dying(app: App) -> None:
    @app.task(name="dying")
    async def dying(count: int, path: str) -> AsyncIterator[int]:
        """Kill the process once, in the middle, when a reader has had something."""
        for number in range(1, count + 1):
            yield number
            if number == count // 2 and not Path(path, "died").exists():
                Path(path, "died").touch()
                os.kill(os.getpid(), 9)

    @app.task(name="dying_sync")
    def dying_sync(count: int, path: str) -> Iterator[int]:
        for number in range(1, count + 1):
            yield number
            if number == count // 2 and not Path(path, "died").exists():
                Path(path, "died").touch()
                os.kill(os.getpid(), 9)


def _register_more(app: App) -> None:
    @app.task(name="keyed", key="one", unique="pending", on_conflict="replace")
    async def keyed(first: int, count: int) -> AsyncIterator[int]:
        for number in range(first, first + count):
            current_job().progress(number)
            yield number

    @app.task(name="quick")
    async def quick() -> str:
        return "quick"

    @app.task(name="returned")
    async def returned(value: int) -> int:
        return value

    @app.task(name="ignored", ignore_result=True)
    async def ignored(path: str) -> AsyncIterator[int]:
        for number in range(2_000):
            yield number
        Path(path, "ended").touch()


def _register_steps(app: App) -> None:
    @app.task(name="steps")
    async def steps(count: int) -> int:
        for step in range(1, count + 1):
            current_job().progress(step, count, f"step {step}")
            await asyncio.sleep(0.001)
        return count

    @app.task(name="steps_sync")
    def steps_sync(count: int) -> int:
        for step in range(1, count + 1):
            current_job().progress(step, count, f"step {step}")
            time.sleep(0.001)
        return count

    @app.task(name="hurried")
    async def hurried(count: int, rate: int) -> int:
        """Tell each of many steps, so many of them a second."""
        began = time.monotonic()
        for step in range(1, count + 1):
            current_job().progress(step, count)
            await asyncio.sleep(max(0.0, began + step / rate - time.monotonic()))
        return count

    @app.task(name="hurried_sync")
    def hurried_sync(count: int, rate: int) -> int:
        began = time.monotonic()
        for step in range(1, count + 1):
            current_job().progress(step, count)
            time.sleep(max(0.0, began + step / rate - time.monotonic()))
        return count

    @app.task(name="steps_thread")
    def steps_thread(count: int) -> int:
        job = current_job()
        thread = threading.Thread(target=lambda: [job.progress(step, count) for step in range(1, count + 1)])
        thread.start()
        thread.join()
        return count


def _register_endless(app: App) -> None:
    @app.task(name="endless")
    async def endless(path: str) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                number += 1
                yield number
                Path(path, "made").write_text(str(number))
        finally:
            await asyncio.sleep(0)
            Path(path, "closed").write_text(str(number))

    @app.task(name="endless_sync")
    def endless_sync(path: str) -> Iterator[int]:
        number = 0
        try:
            while True:
                number += 1
                yield number
                Path(path, "made").write_text(str(number))
        finally:
            Path(path, "closed").write_text(str(number))


def _register_large(app: App) -> None:
    @app.task(name="large")
    async def large(count: int, size: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield "x" * size

    @app.task(name="large_sync")
    def large_sync(count: int, size: int) -> Iterator[str]:
        for _ in range(count):
            yield "x" * size


app = make_app(None, os.environ.get("TEST_APP", "streams"))
