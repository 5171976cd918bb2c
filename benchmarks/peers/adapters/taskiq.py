"""taskiq with taskiq-redis: a stream, which acknowledges jobs after they ran."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from ..bodies import ASYNC, SYNC, spin
from ..order import BIN, CPU, IN_FLIGHT, KIND, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()
broker = RedisStreamBroker(
    URL,
    idle_timeout=5_000 if RECOVERY else 600_000,
    unacknowledged_lock_timeout=1.0 if RECOVERY else None,
    unacknowledged_batch_size=1000 if RECOVERY else 100,
    xread_count=1 if CPU else 100,
).with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=3600))
_bodies = ASYNC if KIND == "async" else SYNC
TASKS = {name: broker.task(task_name=name)(body) for name, body in {**_bodies, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    limits = ["1", "0"] if CPU else ["100", "100"]
    command = [f"{BIN}/taskiq", "worker", f"{__name__}:broker", "--workers", str(processes), "--no-parse"]
    command += ["--max-async-tasks", limits[0], "--max-prefetch", limits[1], "--log-level", "ERROR"]
    return [[*command, *(["--max-threadpool-threads", "1"] if CPU else [])]]


class Session:
    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        left = iter(calls)

        async def sender() -> None:
            for args in left:
                await TASKS[task].kiq(*args)

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))

    async def call(self) -> object:
        handle = await TASKS["noop"].kiq()
        return (await handle.wait_result(check_interval=0.005, timeout=60)).return_value


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    await broker.startup()
    yield Session()
