"""Tasks whose runs are counted."""

from __future__ import annotations

import asyncio
import os
import time

from aiotask import App

app = App(os.environ["TEST_APP"])


@app.task
async def quick(n: int) -> int:
    return n


@app.task
def slow(n: int) -> int:
    time.sleep(0.02)
    return n


@app.task(retries=2, backoff=lambda failures: 0.01)
async def fails(n: int) -> None:
    raise KeyError(f"order {n} is missing")


@app.task(timeout=0.05)
async def hangs() -> None:
    await asyncio.sleep(60)


@app.task
async def waits(path: str) -> None:
    while not os.path.exists(path):
        await asyncio.sleep(0.02)
