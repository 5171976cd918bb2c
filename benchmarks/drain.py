"""Drain: no-op jobs that were sent before, by workers that are up; from the first to the last completion."""

from __future__ import annotations

import asyncio
import time

from .figure import Failed, Figure
from .fleet import Fleet
from .plan import Plan
from .send import send
from .server import Server
from .tasks import Tasks

__all__ = ["completions", "drain", "measure"]

_GOALS = {1: 30_000.0, 2: 42_000.0}
#: Seconds within which at least one more job has to be completed.
_COMPLETION_TIMEOUT = 120.0


async def completions(server: Server, jobs: int) -> float:
    """Completions per second, as the server sees them; returns when so many jobs are done."""
    first: tuple[float, int] | None = None
    changed, last = time.monotonic(), 0
    while True:
        done = server.finished()
        now = time.monotonic()
        if done != last:
            changed, last = now, done
        elif now - changed > _COMPLETION_TIMEOUT:
            raise Failed(f"{done} of {jobs} jobs were done, and no more for {_COMPLETION_TIMEOUT:g} s.")
        if done >= jobs:
            # So few jobs that they were over before anybody looked: more of them are needed.
            began, count = first or (now, done)
            return (done - count) / (now - began) if now > began else float("nan")
        if done and first is None:
            first = now, done
        await asyncio.sleep(0.005)


async def drain(server: Server, workers: Fleet, tasks: Tasks, jobs: int, *, is_async: bool = True) -> float:
    """Send so many no-op jobs and have them done; completions per second."""
    with workers.held():
        # Before they are sent: the supervisor lets a process that stands still for long continue, once.
        server.forget_counts()
        await send(tasks, jobs, is_async=is_async)
    return await completions(server, jobs)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(len(_GOALS) * plan.reps)
    tasks = plan.tasks()
    figures = []
    async with tasks.app:
        for processes, goal in _GOALS.items():
            rates: dict[bool, list[float]] = {True: [], False: []}
            async with plan.fleet(processes, tasks) as workers:
                for is_async in rates:
                    await drain(plan.server, workers, tasks, 2_000, is_async=is_async)
                for _ in plan.rounds():
                    for is_async in rates:
                        rate = await drain(plan.server, workers, tasks, plan.jobs, is_async=is_async)
                        rates[is_async].append(rate)
            if plan.server.fsync == "everysec":
                goal *= 0.75
            for is_async, values in rates.items():
                name = f"{'async' if is_async else 'sync'} no-ops, {processes} process{'es' if processes > 1 else ''}"
                figures.append(Figure("drain", name, "jobs/s", values, goal, fsync=plan.server.fsync))
    return figures
