"""Providers of every kind, and tasks that say what they were given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Self

from aiotask import App, Depends, JobContext, Retry, current_job

from ..events import mark
from ..ledger import is_first

app = App(os.environ["TEST_APP"])
GATE = os.path.join(os.environ["TEST_LEDGER"], "gate")
setting: ContextVar[str] = ContextVar("setting", default="unset")


@contextlib.contextmanager
def span(name: str) -> Iterator[None]:
    mark(f"open {name}")
    try:
        yield
    except BaseException as error:
        mark(f"error in {name}", type(error).__name__)
        raise
    finally:
        mark(f"close {name}")


def plain() -> str:
    mark("call plain")
    return "plain"


async def awaited() -> str:
    mark("call awaited")
    await asyncio.sleep(0)
    return "awaited"


def generator() -> Iterator[str]:
    with span("generator"):
        setting.set("by generator")
        yield "generator"


async def async_generator() -> AsyncIterator[str]:
    with span("async generator"):
        # Entered and left in one asyncio task, or it raises.
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            waiting = group.create_task(asyncio.sleep(600))
            yield "async generator"
            waiting.cancel()


@contextlib.contextmanager
def block() -> Iterator[str]:
    with span("block"):
        yield "block"


@contextlib.asynccontextmanager
async def async_block() -> AsyncIterator[str]:
    with span("async block"):
        await asyncio.sleep(0)
        yield "async block"


class Connection:
    """A client as libraries have it: made by its class, opened by ``async with``."""

    def __init__(self, job: JobContext = Depends(current_job)) -> None:
        self.job = job.id
        self.is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        mark("open connection")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False
        mark("close connection")


def nested(below: str = Depends(async_block), other: str = Depends(generator)) -> Iterator[list[str]]:
    with span("nested"):
        yield [below, other]


KINDS = dict[str, Any]


@app.task
def use_sync(
    label: str,
    a: str = Depends(plain),
    b: str = Depends(awaited),
    c: str = Depends(generator),
    d: str = Depends(async_generator),
    e: str = Depends(block),
    f: str = Depends(async_block),
    g: Connection = Depends(Connection),
    h: list[str] = Depends(nested),
) -> KINDS:
    mark("run")
    return {"values": [label, a, b, c, d, e, f, h], "connection": [g.is_open, g.job], "setting": setting.get()}


@app.task
async def use_async(
    label: str,
    a: str = Depends(plain),
    b: str = Depends(awaited),
    c: str = Depends(generator),
    d: str = Depends(async_generator),
    e: str = Depends(block),
    f: str = Depends(async_block),
    g: Connection = Depends(Connection),
    h: list[str] = Depends(nested),
) -> KINDS:
    mark("run")
    return {"values": [label, a, b, c, d, e, f, h], "connection": [g.is_open, g.job], "setting": setting.get()}


def end(how: str) -> None:
    if how == "fail":
        raise LookupError("of the task")
    if how == "retry" and current_job().attempt == 1:
        raise Retry("once more", delay=0)
    if how == "kill" and is_first(current_job().id):
        os.kill(os.getpid(), 9)
    if how == "fork" and os.fork() == 0:
        # The child returns, as a job that forgets to end it would.
        return


@app.task(retries=1)
def end_sync(how: str, a: str = Depends(generator), b: str = Depends(async_block)) -> str:
    mark("run")
    end(how)
    while how == "wait" and not os.path.exists(GATE):
        time.sleep(0.01)
    return how


@app.task(retries=1)
async def end_async(how: str, a: str = Depends(generator), b: str = Depends(async_block)) -> str:
    mark("run")
    end(how)
    while how == "wait" and not os.path.exists(GATE):
        await asyncio.sleep(0.01)
    return how


# ---- providers that misbehave


async def never() -> AsyncIterator[str]:
    with span("never"):
        await asyncio.sleep(600)
        yield "never"


def broken(below: str = Depends(generator)) -> str:
    raise ConnectionError("the database is down")


async def broken_in_loop(below: str = Depends(generator)) -> str:
    raise ConnectionError("the database is down")


def swallowing() -> Iterator[str]:
    with contextlib.suppress(Exception):
        yield "swallowing"


def failing_close(below: str = Depends(generator)) -> Iterator[str]:
    yield "failing close"
    raise ConnectionError("at the commit")


async def never_closed(below: str = Depends(generator)) -> AsyncIterator[str]:
    yield "never closed"
    mark("begin to close")
    await asyncio.sleep(600)


@app.task
def hang_sync(a: str = Depends(generator), b: str = Depends(never)) -> None:
    mark("run")


@app.task
async def hang_async(a: str = Depends(generator), b: str = Depends(never)) -> None:
    mark("run")


@app.task
def broken_sync(a: str = Depends(broken)) -> None:
    mark("run")


@app.task
def broken_in_loop_sync(a: str = Depends(broken_in_loop)) -> None:
    mark("run")


@app.task
async def broken_async(a: str = Depends(broken_in_loop)) -> None:
    mark("run")


@app.task
def swallowed_sync(a: str = Depends(swallowing)) -> None:
    raise LookupError("of the task")


@app.task
async def swallowed_async(a: str = Depends(swallowing)) -> None:
    raise LookupError("of the task")


@app.task
def unclosed_sync(fails: bool, a: str = Depends(failing_close)) -> str:
    if fails:
        raise LookupError("of the task")
    return "done"


@app.task
def hang_at_close_sync(a: str = Depends(never_closed)) -> str:
    return "done"


@app.task
async def hang_at_close_async(a: str = Depends(never_closed)) -> str:
    return "done"
