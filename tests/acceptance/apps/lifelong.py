"""Providers that are open as long as a worker process is."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from aiotask import App, Depends

from ..events import mark

LEDGER = os.environ["TEST_LEDGER"]
GATE = os.path.join(LEDGER, "gate")


class Pool:
    """Belongs to the process that has opened it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pid = os.getpid()
        self.is_open = True


def url() -> str:
    return "db://"


@contextlib.asynccontextmanager
async def open_pool(url: str = Depends(url)) -> AsyncIterator[Pool]:
    if os.path.exists(os.path.join(LEDGER, "is down")):
        raise ConnectionError("the database is down")
    while os.path.exists(os.path.join(LEDGER, "hangs")):
        mark("open hangs")
        await asyncio.sleep(0.05)
    pool = Pool(url)
    mark("open pool")
    try:
        yield pool
    finally:
        pool.is_open = False
        mark("close pool")


@contextlib.asynccontextmanager
async def open_cache(pool: Pool = Depends(open_pool)) -> AsyncIterator[str]:
    mark("open cache", pool.pid)
    # Entered and left in one asyncio task, or it raises.
    async with asyncio.TaskGroup() as group:
        refreshing = group.create_task(asyncio.sleep(600))
        yield "cache"
        refreshing.cancel()
    mark("close cache", pool.is_open)


app = App(os.environ["TEST_APP"], lifespan=[open_pool, open_cache])


@app.task
def sync(pool: Pool = Depends(open_pool)) -> list[int]:
    mark("run", pool.is_open)
    return [pool.pid, os.getpid(), id(pool)]


@app.task
async def in_loop(pool: Pool = Depends(open_pool), cache: str = Depends(open_cache)) -> list[int]:
    mark("run", pool.is_open)
    return [pool.pid, os.getpid(), id(pool)]


@app.task
async def hold(pool: Pool = Depends(open_pool)) -> str:
    mark("run", pool.is_open)
    while not os.path.exists(GATE):
        await asyncio.sleep(0.01)
    mark("ran", pool.is_open)
    return "held"


@app.task
def fork(pool: Pool = Depends(open_pool)) -> int:
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    return 0
