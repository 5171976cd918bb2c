"""Calls that take the values of calls, each run of which is in the ledger."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiotask import App, exponential, group

from ..ledger import entered, is_first

app = App(os.environ["TEST_APP"], serializer=os.environ.get("TEST_SERIALIZER"))


@dataclass
class Page:
    url: str
    words: dict[str, int] = field(default_factory=dict)


class Point(NamedTuple):
    x: int
    y: int


@app.task
async def add(a: int, b: int = 0) -> int:
    with entered("add"):
        return a + b


@app.task
def mul(a: int, b: int = 2) -> int:
    with entered("mul"):
        return a * b


@app.task
def slowly(n: int) -> int:
    with entered("slowly"):
        time.sleep(random.uniform(0, 0.02))
        return n


@app.task
def total(numbers: list[int], start: int = 0) -> int:
    with entered("total"):
        return sum(numbers) + start


@app.task
def counted(page: Page, at: Point, more: dict[str, list[int]]) -> Page:
    with entered("counted"):
        return Page(page.url, {**page.words, "x": at.x, "y": at.y, "more": sum(more["deep"])})


@app.task
def nothing() -> None: ...


@app.task
def after_nothing(value: None) -> str:
    return f"after {value}"


@app.task
def square(n: int) -> int:
    with entered("square"):
        if n == 13:
            raise ValueError("thirteen")
        return n * n


@app.task
async def asquare(n: int) -> int:
    with entered("square"):
        if n == 13:
            raise ValueError("thirteen")
        return n * n


@app.task(retries=2, backoff=exponential(base=0.01))
def boom(text: str = "") -> int:
    with entered("boom"):
        raise KeyError(text)


@app.task
def dies() -> int:
    with entered("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


@app.task(timeout=0.2)
def hangs() -> int:
    with entered("hangs"):
        time.sleep(60)
        return 0


@app.task
def waits(n: int) -> int:
    with entered("waits"):
        time.sleep(60)
        return n


@app.task
def told(what: Any, label: str) -> None:
    with entered(f"{label}: {type(what).__name__}"):
        pass


@app.task
def shown(values: list[Any]) -> list[str]:
    return [repr(value) for value in values]


@app.task(retries=1, backoff=exponential(base=0.01))
async def sender() -> list[int]:
    """Sends three jobs, a graph and a group, and fails the first time."""
    for n in range(3):
        add.apply_async(n)
    sums = [await total.s([add.s(1).cast, mul.s(2).cast]).apply_async(), *await group(add.s(7)).apply_async()]
    if is_first("sender"):
        raise ValueError("once more")
    return sums


@app.task
async def prolific(count: int) -> None:
    for n in range(count):
        add.apply_async(n)
    await app.flush()


far = mul.options(queue="far")
