"""docket. Its command takes whole seconds only, so the process is ours and the ``Worker`` class its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Docket, Worker

from .. import bodies
from ..order import CHUNK, CPU, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()


async def noop() -> int:
    return await bodies.anoop()


async def nap(job: int) -> int:
    return await bodies.anap(job)


async def spin(job: int, steps: int) -> int:
    return bodies.spin(job, steps)


TASKS = {"noop": noop, "nap": nap, "spin": spin}


@asynccontextmanager
async def opened() -> AsyncIterator[Docket]:
    # A pool of redis-py holds 100 connections by default, too few for 100 jobs at a time.
    async with Docket(name="peers", url=f"{URL}?max_connections=1000") as docket:
        for function in TASKS.values():
            docket.register(function)
        yield docket


def commands(processes: int) -> list[list[str]]:
    return [[sys.executable, "-m", "benchmarks.peers.adapters.docket"]] * processes


async def work() -> None:
    async with (
        opened() as docket,
        Worker(
            docket,
            concurrency=1 if CPU else 100,
            minimum_check_interval=timedelta(milliseconds=10),
            redelivery_timeout=timedelta(seconds=5 if RECOVERY else 300),
        ) as worker,
    ):
        await worker.run_forever()


class Session:
    def __init__(self, docket: Docket) -> None:
        self.docket = docket

    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        specs = (self.docket.call(TASKS[task])(*args) for args in calls)
        await self.docket.add_many(specs, chunk_size=CHUNK)

    async def call(self) -> object:
        execution = await self.docket.add(noop)()
        return await execution.get_result(timeout=timedelta(seconds=60))


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    async with opened() as docket:
        yield Session(docket)


if __name__ == "__main__":
    asyncio.run(work())
