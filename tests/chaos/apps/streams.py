"""Generator tasks, which a reader may leave, and a task that reports how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from aiotask import current_job

from ..app import app
from ..ledger import attempt

__all__ = ["app", "count", "steps", "sync_count"]


@app.task
async def count(items: int, pause: float) -> AsyncIterator[int]:
    """The numbers from 1 on, and how far it is."""
    with attempt():
        for number in range(1, items + 1):
            if pause:
                await asyncio.sleep(pause)
            current_job().progress(number, items)
            yield number


@app.task
def sync_count(items: int, pause: float) -> Iterator[int]:
    with attempt():
        for number in range(1, items + 1):
            if pause:
                time.sleep(pause)
            current_job().progress(number, items)
            yield number


@app.task
async def steps(count: int) -> str:
    """Reports each of so many steps."""
    with attempt() as token:
        for step in range(1, count + 1):
            current_job().progress(step, count)
            await asyncio.sleep(0.002)
        return token
