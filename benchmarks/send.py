"""Send until accepted: one client in one event loop, jobs sealed, nobody runs them."""

from __future__ import annotations

import asyncio
import gc
import time

from .figure import Figure
from .plan import Plan
from .tasks import Tasks

__all__ = ["measure", "send"]

#: Jobs that are handed over before the loop gets its turn.
CHUNK = 500


async def send(tasks: Tasks, jobs: int, *, is_async: bool = True) -> float:
    """Send this many no-op jobs; the seconds until the broker has accepted the last one."""
    task = tasks.async_noop if is_async else tasks.sync_noop
    gc.collect()
    began = time.perf_counter()
    for start in range(0, jobs, CHUNK):
        for n in range(start, min(start + CHUNK, jobs)):
            task.apply_async(n)
        await asyncio.sleep(0)
    await tasks.app.flush()
    return time.perf_counter() - began


async def send_each_confirmed(tasks: Tasks, jobs: int) -> float:
    """The same, with every job's ``sent()`` awaited."""
    gc.collect()
    began = time.perf_counter()
    for start in range(0, jobs, CHUNK):
        results = [tasks.async_noop.apply_async(n) for n in range(start, min(start + CHUNK, jobs))]
        await asyncio.gather(*(result.sent() for result in results))
    return time.perf_counter() - began


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = plan.tasks()
    flushed, confirmed = [], []
    async with tasks.app:
        await send(tasks, CHUNK)
        for _ in plan.rounds():
            plan.server.clear()
            await plan.use_features(tasks, is_served=False)
            flushed.append(plan.jobs / await send(tasks, plan.jobs))
            plan.server.clear()
            await plan.use_features(tasks, is_served=False)
            confirmed.append(plan.jobs / await send_each_confirmed(tasks, plan.jobs))
    plan.server.clear()
    fsync = plan.server.fsync
    goal = 75_000.0 if fsync == "everysec" else 100_000.0
    return [
        Figure("send", "one client, flush at the end", "jobs/s", flushed, goal, fsync=fsync),
        Figure("send", "one client, every sent() awaited", "jobs/s", confirmed, fsync=fsync),
    ]
