"""Streams: how long an item of an idle worker takes to its reader, and how many come in a second."""

from __future__ import annotations

import time

from ..figure import Figure, percentile
from ..fleet import fleet
from ..plan import Plan
from .handover import MODULE
from .tasks import TimelyTasks

__all__ = ["measure"]

#: Items with a pause before each, and without.
_SINGLE, _MANY = 300, 50_000
_PAUSE = 0.005
#: Milliseconds.
_PROMISE = 1.0


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = TimelyTasks(plan.server.url)
    many = plan.scaled(_MANY, 1_000)
    middle: list[float] = []
    late: list[float] = []
    rates: list[float] = []
    with fleet(plan.server, 1, module=MODULE):
        async with tasks.app:
            for _ in plan.rounds():
                took = []
                async for sent in tasks.stamps.apply_async(_SINGLE, _PAUSE):
                    took.append(1000 * (time.monotonic() - sent))
                middle.append(percentile(took, 0.5))
                late.append(percentile(took, 0.99))
                began = time.perf_counter()
                async for _ in tasks.stamps.apply_async(many, 0.0):
                    pass
                rates.append(many / (time.perf_counter() - began))
    return [
        Figure("streams", "an item from the run to its reader, p50", "ms", middle, _PROMISE, more=False),
        Figure("streams", "the same, p99", "ms", late, more=False),
        Figure("streams", f"{many:,} items of one run, with a reader that takes them at once", "items/s", rates),
    ]
