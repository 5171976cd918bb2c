"""A task that uses nothing beside its queue, and tasks that use everything else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from aiotask import App, Limit, current_job

app = App(os.environ["TEST_APP"])
one = Limit("one", max_running=1)


@app.task
async def plain(n: int) -> int:
    return n


# ---- what follows does not end by itself


@app.task(limit=one, key="holder")
async def holder(n: int) -> int:
    """Has a slot, a key, a checkpoint and progress."""
    current_job().checkpoint({"n": n})
    current_job().progress(1, 2, "waits")
    await asyncio.sleep(3600)
    return n


@app.task(limit=one)
async def in_line(n: int) -> int:
    return n


@app.task(limit=Limit("hourly", by="n", rate_each="1/h", max_running_each=1))
async def rated(n: int) -> int:
    return n


@app.task(key="{n}", unique="pending", on_conflict="replace")
async def debounced(n: int) -> int:
    return n


@app.task
async def numbers() -> AsyncIterator[int]:
    """Stands still at the end of its window, as nobody reads on."""
    number = 0
    while True:
        number += 1
        yield number


@app.task(batch=1_000, batch_wait=3600.0)
async def gathered(items: list[int]) -> list[int]:
    return items


@app.task(every=3600)
async def scheduled() -> None: ...


@app.task
async def after(value: int) -> int:
    return value
