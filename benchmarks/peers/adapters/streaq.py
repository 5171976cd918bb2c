"""streaQ, on coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streaq import Worker

from ..bodies import ASYNC, SYNC, spin
from ..order import BIN, CHUNK, CPU, KIND, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()
worker: Worker[None] = Worker(
    redis_url=URL,
    concurrency=1 if CPU else 100,
    prefetch=1 if CPU else 100,
    idle_timeout=5 if RECOVERY else 60,
    redis_kwargs={"max_connections": 1000},  # each call that awaits its result holds one
    anyio_kwargs={"use_uvloop": True},
)
_bodies = ASYNC if KIND == "async" else SYNC
TASKS = {name: worker.task(silent=True, name=name)(body) for name, body in {**_bodies, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    return [[f"{BIN}/streaq", "run", f"{__name__}:worker", "--workers", str(processes)]]


class Session:
    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        for at in range(0, len(calls), CHUNK):
            await worker.enqueue_many([TASKS[task].enqueue(*args) for args in calls[at : at + CHUNK]])

    async def call(self) -> object:
        handle = await TASKS["noop"].enqueue()
        result = await handle.result(timeout=60)
        return result.result if result.success else result


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    async with worker:
        yield Session()
