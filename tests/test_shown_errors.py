"""Tracebacks of failed runs show the user's code: frames of aiotask that have called it are left out, at any depth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import aiotask
from aiotask import AiotaskError, App, Depends, JobContext, Middleware
from aiotask.log.format import JsonFormatter, LineFormatter

PACKAGE = str(Path(aiotask.__file__).parent)


class Translates(Middleware):
    """Raises another error for those of tasks, and cannot finish."""

    @contextlib.contextmanager
    def execute(self, job: JobContext) -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError as error:
            raise ArithmeticError("translated") from error

    def on_finish(self, job: JobContext, status: str, error: Exception | None) -> None:
        raise LookupError("no one to tell")


async def broken_pool() -> AsyncIterator[int]:
    raise OSError("no pool")
    yield 1


def divides() -> None:
    print(1 / 0)


async def raising() -> None:
    raise ValueError("in a group")


@pytest.fixture
def app(app_name: str) -> App:
    made = App(app_name, url="memory://", middleware=[Translates()])

    @made.task(name="sync")
    def sync() -> None:
        divides()

    @made.task(name="async")
    async def asynchronous() -> None:
        divides()

    @made.task(name="chunk")
    def chunk(item: int) -> None:
        divides()

    @made.task(name="groups")
    async def groups() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raising())

    @made.task(name="pool")
    def takes_pool(pool: int = Depends(broken_pool)) -> None: ...

    @made.task(name="slow", timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    @made.task(name="slow-sync", timeout=0.05)
    def slow_sync() -> None:
        time.sleep(0.1)

    @made.task(name="lock")
    def lock() -> Any:
        return threading.Lock()

    @made.task(name="awaits")
    async def awaits() -> None:
        await made.s("sync").apply_async()

    return made


async def shown(app: App, caplog: pytest.LogCaptureFixture, task: str, *args: Any) -> tuple[str, str]:
    """What the log shows of a failed run as text, and of the hook that fails after it."""
    caplog.set_level(logging.INFO, "aiotask")
    async with app, app.worker():
        call = app.s(task).apply_async() if not args else app.named(task).map(*args, chunk=2)
        with contextlib.suppress(Exception):
            await call
    (ended,) = (r for r in caplog.records if vars(r).get("facts", {}).get("task") == task and "traceback" in r.facts)  # type: ignore[attr-defined]
    (hook,) = (r for r in caplog.records if "on_finish failed" in r.getMessage() and f"({task})" in r.getMessage())
    written = json.loads(JsonFormatter().format(ended))["traceback"]
    assert written in LineFormatter().format(ended)
    assert written in logging.Formatter().format(ended), "handlers of the application show the same"
    assert ended.exc_info
    assert PACKAGE not in _outermost(ended.exc_info[2]) or isinstance(ended.exc_info[1], AiotaskError)
    return written, LineFormatter().format(hook)


def _outermost(trace: TracebackType | None) -> str:
    """The file of the first frame of a traceback; empty: it has none."""
    return trace.tb_frame.f_code.co_filename if trace is not None else ""


#: By task: lines of code of which one has to be shown, and the last line.
EXPECTED = {
    "sync": (["divides()", "print(1 / 0)", 'raise ArithmeticError("translated")'], "ArithmeticError: translated"),
    "async": (["divides()", "print(1 / 0)", 'raise ArithmeticError("translated")'], "ArithmeticError: translated"),
    "groups": (["async with asyncio.TaskGroup()", 'raise ValueError("in a group")'], ""),
    "pool": (['raise OSError("no pool")'], "OSError: no pool"),
    "slow": (["await asyncio.sleep(60)"], ""),
    "slow-sync": ([], ""),
    "lock": ([], ""),
}


@pytest.mark.parametrize("task", EXPECTED)
async def test_no_frame_of_aiotask_stands_above_the_users(
    app: App, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    text, hook = await shown(app, caplog, task)

    lines, last = EXPECTED[task]
    assert [line for line in lines if line not in text] == []
    assert text.splitlines()[-1].endswith(last)
    assert PACKAGE not in text and PACKAGE not in hook
    assert 'raise LookupError("no one to tell")' in hook


async def test_a_chunk_too(app: App, caplog: pytest.LogCaptureFixture) -> None:
    text, _ = await shown(app, caplog, "chunk", [1, 2])

    assert PACKAGE not in text and "print(1 / 0)" in text


async def test_what_the_users_code_called_of_aiotask_is_shown(app: App, caplog: pytest.LogCaptureFixture) -> None:
    text, _ = await shown(app, caplog, "awaits")

    own, _, remote = text.partition("Remote traceback")
    frames = [line for line in own.splitlines() if line.startswith('  File "')]
    assert PACKAGE in frames[-1] and "await made.s" in own
    assert all(PACKAGE not in frame for frame in frames[: frames.index(next(f for f in frames if "awaits" in f)) + 1])
    assert PACKAGE not in remote


async def test_a_call_that_does_not_fit_shows_where_it_was_made(
    app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(app_name, url="memory://")

    @app.task(name="two")
    def two(a: int, b: int) -> None: ...

    sender = App(app_name, url="memory://")
    async with sender, app.worker():
        with pytest.raises(TypeError, match="missing 1 required") as caught:
            await sender.s("two", 1).apply_async()
    assert "TypeError: " in caught.value.__notes__[0] and "File" in caught.value.__notes__[0]
