"""What it costs to schedule a job, and to run it when it is due, while many others are scheduled for later."""

from __future__ import annotations

import asyncio
import time

from aiotask import Task

from ..figure import Figure
from ..plan import Plan
from ..send import CHUNK
from ..tasks import Tasks
from .cost import Costs, Meter, growth
from .pending import drained, sizes_that_fit

__all__ = ["measure"]

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
SAMPLE = 10_000
WARM = 1_000
#: Seconds from now at which the others, and those of a sample, are due.
_LATER = 6 * 3600.0
_SOON = 2.0


async def _schedule(tasks: Tasks, task: Task[[int], int], jobs: int) -> None:
    for start in range(0, jobs, CHUNK):
        for n in range(start, min(start + CHUNK, jobs)):
            task.apply_async(n)
        await asyncio.sleep(0)
    await tasks.app.flush()


async def measure(plan: Plan) -> list[Figure]:
    server = plan.server
    sizes = sizes_that_fit(plan, _SIZES, "scheduled jobs")
    plan.bar.expect(len(sizes) * plan.reps)
    costs = Costs("scheduled jobs")
    tasks = Tasks(server.url)
    there = 0
    async with tasks.app:
        for size in sizes:
            plan.bar.tell(f"{size:,} scheduled jobs")
            # Spread over an hour, as real ones are.
            for n in range(10):
                later = tasks.async_noop.options(eta=time.time() + _LATER + 360 * n)
                await _schedule(tasks, later, (size - there) // 10)
            there = size
            for _ in plan.rounds():
                due = time.time() + _SOON
                meter = Meter(server)
                await _schedule(tasks, tasks.async_noop.options(eta=due), SAMPLE + WARM)
                costs.add(size, "send", "client", meter.read(SAMPLE + WARM))
                await asyncio.sleep(max(0.0, due - time.time()))
                costs.add(size, "run when due", "workers'", await drained(server, SAMPLE, WARM))
    figures = costs.figures
    return figures + growth(figures, "send") + growth(figures, "run when due")
