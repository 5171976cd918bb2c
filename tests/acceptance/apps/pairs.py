"""Tasks that use two features at once: limits, keys, streams, batches, expiry, pauses, schedules."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiotask import App, Limit, current_job

from ..ledger import entered, is_first, note

app = App(os.environ["TEST_APP"])
_LEDGER = Path(os.environ["TEST_LEDGER"])


@app.task(limit=Limit("readings", max_running=1))
async def reading(label: str, count: int) -> AsyncIterator[int]:
    with entered(label):
        for number in range(1, count + 1):
            yield number


@app.task(limit=Limit("threads", max_running=1), queue="threads")
def reading_in_thread(label: str, count: int) -> Iterator[int]:
    with entered(label):
        yield from range(1, count + 1)


@app.task(limit=Limit("deaths", max_running=1))
async def dying(label: str, count: int) -> AsyncIterator[int]:
    """Its process dies once, when a reader has had something."""
    with entered(label):
        for number in range(1, count + 1):
            yield number
            if number == count // 2 and is_first(label):
                os.kill(os.getpid(), 9)


@app.task(key="{key}", unique="unfinished")
async def shared(key: str, count: int) -> AsyncIterator[int]:
    with entered(key):
        for number in range(1, count + 1):
            yield number
        await opened(key)


@app.task(key="{key}", unique="unfinished")
async def total(key: str, first: str, second: str) -> str:
    with entered(key):
        return f"{first} {second}"


@app.task
async def plain(label: str) -> str:
    with entered(label):
        return label


@app.task(limit=Limit("doors", by="door", max_running_each=1))
async def knock(door: str, label: str) -> str:
    """Waits until its door is open."""
    with entered(label):
        await opened(door)
    return label


@app.task(limit=Limit("documents", max_running=1), key="{document}", unique="pending", on_conflict="replace")
async def save(document: str, text: str, door: str = "") -> str:
    with entered(f"{document} {text}"):
        if door:
            await opened(door)
    return text


@app.task(batch=4, batch_wait=0.05, rate="20/s")
async def embed(items: list[int]) -> list[int]:
    now = time.monotonic()
    for item in current_job().items:
        note(token=item.id, id=item.id, attempt=1, pid=os.getpid(), label="embed", start=now)
    return [item * 2 for item in items]


@app.task(key="{name}", unique="unfinished")
async def long_run(name: str) -> None:
    with entered(name):
        await opened(name)


@app.task(limit=Limit("reports", max_running=1))
async def slow_run(name: str) -> None:
    with entered(name):
        await asyncio.sleep(0.3)


async def opened(door: str) -> None:
    while not (_LEDGER / f"{door}.open").exists():
        await asyncio.sleep(0.01)
