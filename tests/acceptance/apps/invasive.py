"""Tasks that lay hands on what belongs to the worker process: its event loop, its signals, its streams."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import decimal
import faulthandler
import os
import signal
import sys
import time
from contextvars import ContextVar
from typing import Any

import uvloop

from aiotask import App

from ..ledger import entered

app = App(os.environ["TEST_APP"])
tenant: ContextVar[str] = ContextVar("tenant", default="none")
region: ContextVar[str] = ContextVar("region", default="none")
region.set("set at import")
decimal.getcontext().prec = 7
if os.environ.get("TEST_SIGNALS") == "taken at import":
    signal.signal(signal.SIGUSR1, lambda *_: print("USER HANDLER", flush=True))
    faulthandler.enable()


@app.task
async def aecho(value: int) -> int:
    return value


@app.task
def echo(value: int) -> int:
    return value


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def nap(seconds: float, label: str = "nap") -> str:
    with entered(label):
        time.sleep(seconds)
    return label


@app.task
async def anap(seconds: float, label: str = "anap") -> str:
    with entered(label):
        await asyncio.sleep(seconds)
    return label


# ---- the event loop


def _eager(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
    options.pop("eager_start", None)
    if sys.version_info < (3, 12):
        # Nothing is as eager there; a factory that refuses is as bad.
        raise RuntimeError("no task for you")
    return asyncio.Task(work, loop=loop, eager_start=True, **options)


@app.task
async def sets_a_task_factory() -> None:
    asyncio.get_running_loop().set_task_factory(_eager)


async def _exits() -> None:
    await asyncio.sleep(0.01)
    sys.exit(3)


async def _is_interrupted() -> None:
    await asyncio.sleep(0.01)
    raise KeyboardInterrupt


@app.task
async def gathers_what_exits() -> None:
    await asyncio.gather(_exits())


@app.task
async def groups_what_exits() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_exits())


@app.task
async def awaits_what_is_interrupted() -> None:
    await asyncio.create_task(_is_interrupted())


@app.task
async def leaves_what_exits() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 5)
    await asyncio.sleep(0.05)
    return "went on"


@app.task
async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()


@app.task
async def closes_the_loop() -> None:
    asyncio.get_running_loop().close()


@app.task
async def runs_a_loop_inside() -> None:
    work = asyncio.sleep(0)
    try:
        asyncio.run(work)
    finally:
        work.close()


@app.task
async def shuts_the_executor_down() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


@app.task
async def cancels_all_others() -> int:
    own = asyncio.create_task(asyncio.sleep(100))
    await asyncio.sleep(0)
    others = asyncio.all_tasks()
    others.remove(asyncio.current_task())  # type: ignore[arg-type]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert own.cancelled()
    return len(others)


@app.task
async def forks(end: str) -> tuple[str, int]:
    """What the parent returns, and the exit code of the child."""
    child = os.fork()
    if child == 0:
        if end == "exit":
            sys.exit(7)
        if end == "raise":
            raise ValueError("in the child")
        if end == "wait":
            future = asyncio.Future[None](loop=asyncio.get_event_loop_policy().new_event_loop())
            await future
        return "child", 0
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return "parent", os.waitstatus_to_exitcode(status)


@app.task(timeout=60)
async def forks_elsewhere(place: str, end: str) -> tuple[str, int]:
    """The same for code of the job that does not run in the job's own coroutine."""
    loop = asyncio.get_running_loop()

    async def forking() -> int:
        await asyncio.sleep(0)
        return _forked(end)

    if place == "child task":
        child = await asyncio.create_task(forking())
    elif place == "callback":
        future = loop.create_future()
        loop.call_soon(lambda: future.set_result(_forked(end)))
        child = await future
    elif place == "thread":
        child = await asyncio.to_thread(_forked, end)
    elif place == "executor":
        child = await loop.run_in_executor(None, _forked, end)
    else:
        child = await loop.run_in_executor(None, os.fork)
    assert child, "the child has come back into the event loop"
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return "parent", os.waitstatus_to_exitcode(status)


@app.task(timeout=60)
def sync_forks_in_a_thread(end: str) -> tuple[str, int]:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        child = pool.submit(_forked, end).result()
    return "parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forked(end: str) -> int:
    """The pid of a child process; in the child: its end, or 0."""
    child = os.fork()
    if child == 0:
        if end == "exit":
            sys.exit(7)
        if end == "raise":
            raise ValueError(f"in the child of {sys._getframe(1).f_code.co_name}")
    return child


@app.task
def sync_forks(end: str) -> tuple[str, int]:
    child = os.fork()
    if child == 0:
        if end == "exit":
            sys.exit(7)
        if end == "raise":
            raise ValueError("in the child")
        return "child", 0
    return "parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ---- signals and streams


@app.task
def takes_signals(how: str) -> str:
    if how == "loop":

        async def inner() -> None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)

        asyncio.run(inner())
    elif how == "default":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif how == "wakeup":
        signal.set_wakeup_fd(-1)
    elif how == "mask":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    elif how == "mask of all":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return how


@app.task
def takes_usr1(how: str) -> str:
    if how == "default":
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    elif how == "ignored":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    elif how == "handler":
        signal.signal(signal.SIGUSR1, lambda *_: print("USER HANDLER", flush=True))
    elif how == "unregistered":
        faulthandler.unregister(signal.SIGUSR1)
    return how


@app.task
def disables_faulthandler() -> None:
    faulthandler.disable()


@app.task
def segfaults() -> None:
    ctypes.string_at(0)


@app.task
def breaks_streams(how: str) -> str:
    if how == "close stderr":
        sys.stderr.close()
    elif how == "close both":
        sys.stderr.close()
        sys.stdout.close()
    elif how == "none":
        sys.stderr = sys.stdout = None  # type: ignore[assignment]
    elif how == "close descriptors":
        os.close(1)
        os.close(2)
    return how


# ---- context


@app.task
def sets_context(name: str) -> str:
    tenant.set(name)
    decimal.getcontext().prec = 3
    return name


@app.task
def sees_context() -> tuple[str, str, int]:
    return tenant.get(), region.get(), decimal.getcontext().prec


@app.task
async def asees_context() -> tuple[str, str, int]:
    return tenant.get(), region.get(), decimal.getcontext().prec


# ---- loops in a sync job


@app.task
def runs_its_own_loop(kind: str, label: str) -> None:
    async def inner() -> None:
        with entered(label):
            await asyncio.sleep(100)

    if kind == "uvloop.run":
        uvloop.run(inner())
    elif kind == "uvloop policy":
        uvloop.install()
        try:
            asyncio.run(inner())
        finally:
            asyncio.set_event_loop_policy(None)
    elif kind == "run_until_complete":
        loop = uvloop.new_event_loop()
        task = loop.create_task(inner())
        try:
            loop.run_until_complete(task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()
    else:
        asyncio.run(inner())
