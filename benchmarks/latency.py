"""Idle latency: one call at a time, one worker process that has nothing else to do."""

from __future__ import annotations

import time

from aiotask import Task

from .figure import Figure, percentile
from .plan import Plan

__all__ = ["measure"]

_CALLS = 500
_GOALS = {"async": 0.8, "sync": 1.5}
_LATE = 3.0


async def _calls(task: Task[[int], int], count: int) -> list[float]:
    """Milliseconds of each call."""
    took = []
    for n in range(count):
        began = time.perf_counter()
        await task.apply_async(n)
        took.append(1000 * (time.perf_counter() - began))
    return took


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = plan.tasks()
    kinds: dict[str, Task[[int], int]] = {"async": tasks.async_noop, "sync": tasks.sync_noop}
    middle: dict[str, list[float]] = {kind: [] for kind in kinds}
    late: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with tasks.app, plan.fleet(1, tasks):
        for task in kinds.values():
            await _calls(task, 50)
        for _ in plan.rounds():
            for kind, task in kinds.items():
                took = await _calls(task, _CALLS)
                middle[kind].append(percentile(took, 0.5))
                late[kind].append(percentile(took, 0.99))
    figures = []
    for kind, goal in _GOALS.items():
        figures.append(Figure("idle latency", f"{kind}, p50", "ms", middle[kind], goal, more=False))
        figures.append(Figure("idle latency", f"{kind}, p99", "ms", late[kind], _LATE, more=False))
    return figures
