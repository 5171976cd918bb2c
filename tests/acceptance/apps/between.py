"""Middleware of every kind around sync and async tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from aiotask import App, Call, Depends, JobContext, Middleware, Retry, current_job

from ..events import mark
from ..ledger import is_first

tenant: ContextVar[str] = ContextVar("tenant", default="none")


class Outer(Middleware):
    """Passes on to jobs for whom they run."""

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        mark("send outer", job="caller")
        call.headers["tenant"] = tenant.get()
        if call.args == ("refused",):
            raise PermissionError("not this call")
        yield
        mark("sent outer", job="caller")

    @contextlib.contextmanager
    def execute(self, job: JobContext, /) -> Iterator[None]:
        mark("enter outer", job.attempt)
        tenant.set(job.headers.get("tenant", "none"))
        if tenant.get() == "locked":
            raise PermissionError("the tenant is locked")
        try:
            yield
        except BaseException as error:
            mark("error in outer", type(error).__name__)
            raise
        finally:
            mark("leave outer")

    def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> None:
        mark("retry", [job.attempt, type(error).__name__, delay], job.id)
        raise LookupError("an error of on_retry")

    async def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        await asyncio.sleep(0)
        here = current_job().id == job.id
        mark("finish", [job.attempt, status, type(error).__name__, job.headers.get("tenant"), here], job.id)
        raise LookupError("an error of on_finish")


class Inner(Middleware):
    """Doubles a number, and swallows errors, which remains without effect."""

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        mark("send inner", job="caller")
        if call.args and isinstance(call.args[0], int):
            call.args = (2 * call.args[0],)
        if "note" in call.kwargs:
            call.kwargs["note"] += "!"
        yield
        mark("sent inner", job="caller")

    @contextlib.contextmanager
    def execute(self, job: JobContext, /) -> Iterator[None]:
        mark("enter inner")
        with contextlib.suppress(Exception):
            yield
        mark("leave inner")


app = App(os.environ["TEST_APP"], middleware=[Outer(), Inner()])


def provided() -> str:
    mark("open provided", tenant.get())
    return tenant.get()


@app.task
def sync(number: int, note: str = "", by: str = Depends(provided)) -> list[object]:
    mark("run", threading.current_thread() is threading.main_thread())
    return [number, note, tenant.get(), by, dict(current_job().headers)]


@app.task
async def in_loop(number: int, note: str = "", by: str = Depends(provided)) -> list[object]:
    mark("run")
    await asyncio.sleep(0)
    return [number, note, tenant.get(), by, dict(current_job().headers)]


@app.task
def fail_sync(text: str) -> None:
    raise LookupError(text)


@app.task
async def fail_async(text: str) -> None:
    raise LookupError(text)


@app.task(retries=1, retry_on=(PermissionError,), backoff=lambda failures: 0.0)
def retried(label: str) -> str:
    if is_first(label):
        raise Retry("once more", delay=0.0)
    return label


@app.task(retries=3, retry_on=(PermissionError,), backoff=lambda failures: 0.0)
async def guarded() -> str:
    return "done"


@app.task
async def parent() -> list[object]:
    return await in_loop.apply_async(4)


@app.task
async def hold() -> None:
    mark("run")
    await asyncio.sleep(600)


@app.task(retries=1, backoff=lambda failures: 0.0)
def kill() -> str:
    if is_first(current_job().id):
        os.kill(os.getpid(), 9)
    return "done"
