"""SAQ on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from saq import Queue

from .. import bodies
from ..order import BIN, CPU, IN_FLIGHT, KIND, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()
queue = Queue.from_url(URL, max_concurrent_ops=IN_FLIGHT)
#: With the default of one try the sweep aborts healthy jobs that were only just taken.
_OPTIONS: dict[str, Any] = {"retries": 5, **({"timeout": 2} if RECOVERY else {})}


async def async_noop(ctx: dict[str, Any]) -> int:
    return await bodies.anoop()


def sync_noop(ctx: dict[str, Any]) -> int:
    return bodies.noop()


async def nap(ctx: dict[str, Any], *, job: int) -> int:
    return await bodies.anap(job)


def spin(ctx: dict[str, Any], *, job: int, steps: int) -> int:
    return bodies.spin(job, steps)


settings = {
    "queue": queue,
    "functions": [("noop", async_noop if KIND == "async" else sync_noop), nap, spin],
    "concurrency": 1 if CPU else 100,
    "timers": {"sweep": 1} if RECOVERY else {},
}


def commands(processes: int) -> list[list[str]]:
    return [[f"{BIN}/saq", f"{__name__}.settings", "--workers", str(processes)]]


class Session:
    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        left = iter(calls)

        async def sender() -> None:
            for args in left:
                await queue.enqueue(task, **_OPTIONS, **dict(zip(("job", "steps"), args, strict=False)))

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))

    async def call(self) -> object:
        job = await queue.enqueue("noop", **_OPTIONS)
        # refresh() reads the state and subscribes after that: a notification between the two is missed.
        while job is not None and not job.completed:
            with suppress(TimeoutError):
                await job.refresh(until_complete=0.5)
        return job.result if job is not None else None


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    await queue.connect()
    yield Session()
