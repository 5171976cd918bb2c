"""aiotask itself, with its defaults."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiotask import App

from ..bodies import ASYNC, SYNC, spin
from ..order import CHUNK, KIND, SECRET, URL

app = App("peers", url=URL, secret=SECRET)
_bodies = ASYNC if KIND == "async" else SYNC
TASKS = {name: app.register_task(body) for name, body in {**_bodies, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    return [[sys.executable, "-m", "aiotask", "worker", f"{__name__}:app", "--concurrency", str(processes)]]


class Session:
    async def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        for at in range(0, len(calls), CHUNK):
            for args in calls[at : at + CHUNK]:
                TASKS[task].apply_async(*args)
            await asyncio.sleep(0)
        await app.flush()

    async def call(self) -> object:
        return await TASKS["noop"].apply_async()


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    async with app:
        yield Session()
