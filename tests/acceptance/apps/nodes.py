"""Nodes of graphs, each run of which is in the ledger; some wait at a gate, fail, die or return calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

from aiotask import App, exponential

from ..ledger import entered, is_first

app = App(os.environ["TEST_APP"])
_LEDGER = Path(os.environ["TEST_LEDGER"])


def open_gate(name: str = "gate") -> None:
    """Let the runs through that wait there."""
    (_LEDGER / name).touch()


@app.task
def give(value: Any, label: str = "give") -> Any:
    with entered(label):
        return value


@app.task
async def agive(value: Any, label: str = "give") -> Any:
    with entered(label):
        return value


@app.task
def add(a: int, b: int, label: str = "add") -> int:
    with entered(label):
        return a + b


@app.task(retries=2, backoff=exponential(base=0.01))
def after(*upstream: Any, label: str = "after") -> str:
    """Has retries, and the default ``retry_on``, so that a wrong judge would run it again."""
    with entered(label):
        return repr(upstream)


@app.task(retries=2, backoff=exponential(base=0.01))
async def aafter(*upstream: Any, label: str = "after") -> str:
    with entered(label):
        return repr(upstream)


@app.task
def boom(label: str = "boom") -> int:
    with entered(label):
        raise KeyError(label)


@app.task
def at_the_gate(value: Any, gate: str = "gate", label: str = "at the gate") -> Any:
    with entered(label):
        while not (_LEDGER / gate).exists():
            time.sleep(0.01)
        return value


@app.task
async def aat_the_gate(value: Any, gate: str = "gate", label: str = "at the gate") -> Any:
    with entered(label):
        while not (_LEDGER / gate).exists():
            await asyncio.sleep(0.01)
        return value


@app.task(timeout=0.1)
def too_long() -> None:
    with entered("too long"):
        time.sleep(600)


@app.task(timeout=0.2)
def never_ends() -> None:
    """Its process is killed for it."""
    with entered("never ends"):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(600)


@app.task
def die(label: str = "die") -> None:
    with entered(label):
        os._exit(3)


@app.task(acks="early")
def die_early() -> None:
    with entered("die early"):
        os._exit(3)


@app.task(retries=30, backoff=exponential(base=0.01, limit=0.02))
def fail_at_the_gate(value: Any) -> int:
    """Fails until the gate is open; the number of bytes of what it takes."""
    with entered("fails"):
        if not (_LEDGER / "gate").exists():
            raise KeyError(value[:3])
        return len(value)


@app.task
def blob(size: int) -> bytes:
    return b"b" * size


@app.task
def size(data: bytes) -> int:
    return len(data)


@app.task
def again(data: bytes) -> bytes:
    return data


# ---- what returns calls


@app.task
async def fib(n: int) -> int:
    with entered(f"fib {n}"):
        return n if n < 2 else add.s(fib.s(n - 1).cast, fib.s(n - 2).cast).cast


@app.task
def sync_fib(n: int) -> Any:
    """A bare signature."""
    with entered(f"fib {n}"):
        return n if n < 2 else add.s(sync_fib.s(n - 1).cast, sync_fib.s(n - 2).cast)


@app.task
def squares(count: int) -> dict[str, Any]:
    return {"squares": [give.s(n * n).cast for n in range(count)], "count": count}


@app.task
def return_boom() -> int:
    with entered("returns"):
        return boom.s().cast


@app.task
def return_at_the_gate(value: Any) -> Any:
    with entered("returns"):
        return at_the_gate.s(value).cast


@app.task
def return_when_told(value: Any) -> Any:
    """It does not react to a cancel."""
    with entered("returns"):
        while not (_LEDGER / "told").exists():
            with contextlib.suppress(BaseException):
                time.sleep(0.01)
        return give.s(value).cast


@app.task(acks="early")
def return_once(value: Any) -> Any:
    with entered("returns"):
        return give.s(value).cast


@app.task
def return_many(count: int) -> Any:
    """Returns a graph that is sent in several parts. The first run is marked, so that a test kills its process."""
    with entered("returns"):
        is_first("returned")
        return [agive.s(n, f"child {n}").cast for n in range(count)]


@app.task(retries=3)
def return_what_was_sent() -> Any:
    call = give.s(1)
    call.apply_async()
    return call.cast
