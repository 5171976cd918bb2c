"""No-op jobs through a real worker: plain ones, and those of a limit that holds nothing back, in the same repetition.

A figure is the rate of the limited jobs over that of the plain ones, each sent and drained in one burst.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from aiotask import AsyncResult

from .figure import Figure
from .fleet import fleet
from .limited_tasks import LimitedTasks
from .plan import Plan

__all__ = ["measure"]

#: Jobs of a burst, of ``--jobs`` 40,000.
_BURST = 10_000


async def _timed(task: Any, jobs: int) -> float:
    """Seconds from the first send to the last value."""
    gc.collect()
    began = time.perf_counter()
    results: list[AsyncResult[int]] = [task.apply_async(n) for n in range(jobs)]
    for result in results:
        await result
    return time.perf_counter() - began


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    jobs = plan.scaled(_BURST, 100)
    tasks = LimitedTasks(plan.server.url)
    kinds = {
        "one key": tasks.one_key,
        "100 keys in turn": tasks.fair,
        "100 keys, each limited": tasks.each_limited,
    }
    ratios: dict[str, list[float]] = {name: [] for name in kinds}
    async with tasks.app:
        with fleet(plan.server, 1, module="benchmarks.limited_tasks"):
            for task in (tasks.async_noop, *kinds.values()):
                await _timed(task, 500)
            for _ in plan.rounds():
                plain = await _timed(tasks.async_noop, jobs)
                for name, task in kinds.items():
                    ratios[name].append(plain / await _timed(task, jobs))
    return [Figure("limits", f"{name}: rate over that of plain jobs", "x", found) for name, found in ratios.items()]
