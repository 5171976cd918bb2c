"""arq, which polls: its worker for jobs, its client for results. It has coroutine functions only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from .. import bodies
from ..order import BIN, CPU, IN_FLIGHT, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()
_POLL = 0.005
#: Its own configuration of logging writes a line for each job.
QUIET = {"version": 1, "disable_existing_loggers": False}


async def noop(ctx: dict[str, Any]) -> int:
    return await bodies.anoop()


async def nap(ctx: dict[str, Any], job: int) -> int:
    return await bodies.anap(job)


async def spin(ctx: dict[str, Any], job: int, steps: int) -> int:
    return bodies.spin(job, steps)


class Settings:
    functions: ClassVar[list[Any]] = [noop, nap, spin]
    redis_settings = RedisSettings.from_dsn(URL)
    max_jobs = 1 if CPU else 100
    queue_read_limit = 4 if CPU else None
    poll_delay = _POLL
    job_timeout = 2 if RECOVERY else 300
    log_results = False


def commands(processes: int) -> list[list[str]]:
    return [[f"{BIN}/arq", f"{__name__}.Settings", "--custom-log-dict", f"{__name__}.QUIET"]] * processes


class Session:
    def __init__(self, pool: ArqRedis) -> None:
        self.pool = pool

    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        left = iter(calls)

        async def sender() -> None:
            for args in left:
                await self.pool.enqueue_job(task, *args)

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))

    async def call(self) -> object:
        job = await self.pool.enqueue_job("noop")
        return await job.result(timeout=60, poll_delay=_POLL) if job else None


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    yield Session(await create_pool(RedisSettings.from_dsn(URL)))
