"""Tasks that say when they ran."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

from aiotask import Limit

from ..tasks import Ran, Tasks, async_linger

__all__ = ["RATES", "TimelyTasks", "app"]

#: Starts a second.
RATES = (5, 50, 200)


async def alone_async(seconds: float) -> Ran:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return os.getpid(), began, time.monotonic()


def alone_sync(seconds: float) -> Ran:
    began = time.monotonic()
    time.sleep(seconds)
    return os.getpid(), began, time.monotonic()


async def paced(n: int) -> float:
    return time.monotonic()


async def in_turn(tenant: str, n: int) -> float:
    return time.monotonic()


async def stamps(count: int, pause: float) -> AsyncIterator[float]:
    """Times, each of which is sent at once if there is a pause between two."""
    for _ in range(count):
        if pause:
            await asyncio.sleep(pause)
        yield time.monotonic()


async def edited(document: int, text: int) -> int:
    return text


async def gathered(numbers: list[int]) -> list[int]:
    return numbers


async def ticked() -> float:
    return time.time()


class TimelyTasks(Tasks):
    """The tasks of every measurement, and these."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__(url)
        add = self.app.register_task
        one = Limit("one", max_running=1)
        self.alone_async = add(alone_async, limit=one)
        self.alone_sync = add(alone_sync, limit=one)
        self.alone_linger = add(async_linger, name="alone_linger", limit=one)
        self.started = add(paced, name="started")
        self.paced = {rate: add(paced, name=f"paced{rate}", rate=f"{rate}/s") for rate in RATES}
        self.in_turn = add(in_turn, limit=Limit("turns", by="tenant"))
        self.stamps = add(stamps)
        self.saved = add(edited, name="saved")
        self.edited = add(edited, key="{document}", unique="pending", on_conflict="replace")
        self.gathered = add(gathered, batch=64, batch_wait=0.05)
        self.ticked = add(ticked, ignore_result=True, queue="ticks")


app = TimelyTasks().app
