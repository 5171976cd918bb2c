"""A worker process more: from the signal that asks the supervisor for it until it is in service."""

from __future__ import annotations

import asyncio
import signal
import time

from .figure import Failed, Figure
from .fleet import Fleet, fleet, live_pids
from .plan import Plan
from .server import Server

__all__ = ["measure"]

#: Starts per repetition.
_TRIES = 4
#: Seconds that a worker may take to start or to leave.
_START_TIMEOUT = 120.0


async def _until(server: Server, count: int) -> float:
    """Return once ``count`` workers are in service; the time at which that was so (monotonic)."""
    deadline = time.monotonic() + _START_TIMEOUT
    while len(live_pids(server)) != count:
        if time.monotonic() > deadline:
            raise Failed(f"{len(live_pids(server))} workers were in service instead of {count}.")
        await asyncio.sleep(0.002)
    return time.monotonic()


async def _start_one(server: Server, workers: Fleet) -> float:
    """Seconds that it took; afterwards it is gone again."""
    began = time.monotonic()
    workers.signal(signal.SIGTTIN)
    took = await _until(server, 2) - began
    workers.signal(signal.SIGTTOU)
    await _until(server, 1)
    return took


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    took: list[float] = []
    with fleet(plan.server, 1) as workers:
        for _ in plan.rounds():
            took += [await _start_one(plan.server, workers) for _ in range(_TRIES)]
    return [Figure("starting", "a worker process, from before its fork until it claims", "s", took, 0.3, more=False)]
