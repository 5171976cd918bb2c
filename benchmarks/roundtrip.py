"""Round trips: 100 callers, each sends a job and awaits its value; one worker process."""

from __future__ import annotations

import asyncio
import gc
import time

from .figure import Failed, Figure, percentile
from .plan import Plan
from .tasks import Tasks

__all__ = ["measure"]

IN_FLIGHT = 100


async def _trips(tasks: Tasks, jobs: int) -> tuple[float, list[float]]:
    """Seconds for all of them, and for each."""
    took: list[float] = []
    numbers = iter(range(jobs))

    async def caller() -> None:
        for n in numbers:
            began = time.perf_counter()
            if await tasks.async_noop.apply_async(n) != n:
                raise Failed("A caller got another caller's value.")
            took.append(time.perf_counter() - began)

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began, took


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = plan.tasks()
    rates, middle, late = [], [], []
    async with tasks.app, plan.fleet(1, tasks):
        await _trips(tasks, 1_000)
        for _ in plan.rounds():
            seconds, took = await _trips(tasks, plan.jobs // 2)
            rates.append(len(took) / seconds)
            middle.append(1000 * percentile(took, 0.5))
            late.append(1000 * percentile(took, 0.99))
    return [
        Figure("round trips", f"{IN_FLIGHT} in flight", "/s", rates, 12_000),
        Figure("round trips", "p50", "ms", middle, more=False),
        Figure("round trips", "p99", "ms", late, 15, more=False),
    ]
