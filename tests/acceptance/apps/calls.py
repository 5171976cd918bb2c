"""Typed functions, sync and async, and what they may raise and return."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiotask import App, exponential

from ..ledger import entered

app = App(os.environ["TEST_APP"])


class OutOfStock(Exception):
    """An exception with more than a text."""

    def __init__(self, article: str, *, left: int) -> None:
        super().__init__(f"only {left} of {article}")
        self.article = article
        self.left = left

    def __reduce__(self) -> Any:
        return _out_of_stock, (self.article, self.left)


def _out_of_stock(article: str, left: int) -> OutOfStock:
    return OutOfStock(article, left=left)


class Stubborn(Exception):
    """Pickles, but does not unpickle: its constructor wants more than it gives to it."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")

    def __reduce__(self) -> Any:
        return Stubborn, (str(self),)


class OneWay:
    """Travels away and cannot be read where it arrives."""

    def __reduce__(self) -> Any:
        return _refuse, (os.getpid(),)


def _refuse(pid: int) -> OneWay:
    if pid == os.getpid():
        return OneWay()
    raise ValueError("this object lives in one process only")


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


# ---- arguments and values


@app.task
def add(a: int, b: int = 10) -> int:
    return a + b


@app.task
async def add_async(a: int, b: int = 10) -> int:
    await asyncio.sleep(0)
    return a + b


@app.task
def describe(first: Any, /, second: Any = "two", *rest: Any, flag: bool = False, **more: Any) -> Any:
    return {"first": first, "second": second, "rest": rest, "flag": flag, "more": more}


@app.task
async def describe_async(first: Any, /, second: Any = "two", *rest: Any, flag: bool = False, **more: Any) -> Any:
    return {"first": first, "second": second, "rest": rest, "flag": flag, "more": more}


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
async def total_async(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def echo(value: Any) -> Any:
    return value


@app.task
async def echo_async(value: Any) -> Any:
    return value


@app.task
def apply(function: Any, *args: Any) -> Any:
    return function(*args)


@app.task
def nothing() -> None:
    return None


@app.task
def counted(label: Any) -> Any:
    with entered(label):
        return label


@app.task
async def counted_async(label: Any) -> Any:
    with entered(label):
        return label


@app.task
async def blob(label: str, size: int) -> bytes:
    with entered(label):
        return os.urandom(size)


# ---- errors


@app.task
def sell(article: str) -> None:
    raise OutOfStock(article, left=3)


@app.task
async def sell_async(article: str) -> None:
    try:
        {}[article]
    except KeyError as error:
        raise OutOfStock(article, left=0) from error


@app.task
async def cancel_itself() -> None:
    raise asyncio.CancelledError


@app.task
def leave() -> None:
    raise SystemExit(7)


@app.task
def stubborn() -> None:
    raise Stubborn("one", "two")


@app.task
def stop_iteration() -> int:
    return next(iter(()))


# ---- what does not travel


@app.task
def lock() -> Any:
    return threading.Lock()


@app.task
async def lock_async() -> Any:
    return threading.Lock()


@app.task
def raise_with_lock() -> None:
    raise RuntimeError("with a lock", threading.Lock())


@app.task
def one_way() -> Any:
    return OneWay()


# ---- time


@app.task
async def nap(seconds: float, label: Any = None) -> None:
    with entered(label):
        await asyncio.sleep(seconds)


@app.task
def block_until(path: str) -> str:
    """Holds the thread until the file is there."""
    with entered("block"):
        while not Path(path).exists():
            threading.Event().wait(0.01)
    return "free"


# ---- retries


@app.task(retries=3, retry_on=(ConnectionError,), backoff=exponential(0.1, jitter=False))
def flaky(label: str, good_run: int = 0, wrong: bool = False) -> int:
    """Fails with a listed exception (or another one) until its ``good_run``."""
    with entered(label) as run:
        if run == good_run:
            return run
        raise LookupError(f"run {run}") if wrong else ConnectionResetError(f"run {run}")


@app.task(retries=3, retry_on=(ConnectionError,), backoff=exponential(0.1, jitter=False))
async def flaky_async(label: str, good_run: int = 0, wrong: bool = False) -> int:
    with entered(label) as run:
        await asyncio.sleep(0.01)
        if run == good_run:
            return run
        raise LookupError(f"run {run}") if wrong else ConnectionResetError(f"run {run}")


@app.task(retries=1, backoff=exponential(0.5))
async def jittered() -> None:
    with entered("jittered") as run:
        if run == 1:
            raise ConnectionError("run 1")


# ---- jobs that send jobs


@app.task
async def fibonacci(n: int) -> int:
    if n < 2:
        return n
    one, two = fibonacci.apply_async(n - 1), fibonacci.apply_async(n - 2)
    return await one + await two


@app.task
async def relay(seconds: float) -> int:
    """Runs for a while, waits for another job, and runs again."""
    with entered("before"):
        await asyncio.sleep(seconds)
    value = await add_async.apply_async(1)
    with entered("after"):
        await asyncio.sleep(seconds)
    return value


@app.task
async def parent_of_a_pill() -> None:
    with entered("parent"):
        await pill.apply_async()


@app.task
async def pill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def sum_of_sync(numbers: list[int]) -> int:
    return sum(await asyncio.gather(*(add.apply_async(number, 0) for number in numbers)))


@app.task
def ask_async(a: int) -> int:
    return add_async.apply_async(a).get(timeout=30)


@app.task
def wait_for_itself(a: int) -> int:
    return add.apply_async(a).get()
