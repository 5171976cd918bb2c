"""ArdiQ: a core in Rust."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ardiq import Ardiq

from ..bodies import ASYNC, SYNC, spin
from ..order import BIN, CHUNK, CPU, KIND, RECOVERY, URL
from ..uv import use_uvloop

use_uvloop()
_width = 1 if CPU else 100
_reclaim: dict[str, Any] = {"idle_timeout_ms": 5_000} if RECOVERY else {}
app = Ardiq(redis_url=URL, queue_name="peers", concurrency=_width, prefetch=_width, **_reclaim)
_bodies = ASYNC if KIND == "async" else SYNC
TASKS = {name: app.task(name=name)(body) for name, body in {**_bodies, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    return [[f"{BIN}/ardiq", "run", f"{__name__}:app", "--workers", str(processes), "--quiet"]]


class Session:
    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        for at in range(0, len(calls), CHUNK):
            await app.enqueue_many([TASKS[task].prepare(*args) for args in calls[at : at + CHUNK]])

    async def call(self) -> object:
        job = await TASKS["noop"].enqueue()
        result = await job.result(timeout=60)
        return result.value if result is not None and result.success else result


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    yield Session()
