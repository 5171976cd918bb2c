"""Calls that become few runs: debounced ones, and those that are gathered into batches."""

from __future__ import annotations

import gc
import time
from typing import Any

from aiotask import gather

from ..figure import Figure
from ..fleet import fleet
from ..plan import Plan
from .handover import MODULE
from .tasks import TimelyTasks

__all__ = ["measure"]

#: Calls of a burst, and documents that they change.
_CALLS, _DOCUMENTS = 10_000, 100


async def _sent(tasks: TimelyTasks, task: Any, calls: int) -> float:
    """Seconds until the broker has accepted calls, of which each replaces the one before."""
    gc.collect()
    began = time.perf_counter()
    for n in range(calls):
        task.apply_async(n % _DOCUMENTS, n)
    await tasks.app.flush()
    return time.perf_counter() - began


async def _drained(task: Any, calls: int) -> float:
    gc.collect()
    began = time.perf_counter()
    await gather([task.apply_async(n) for n in range(calls)])
    return time.perf_counter() - began


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = TimelyTasks(plan.server.url)
    calls = plan.scaled(_CALLS, 1_000)
    debounced: list[float] = []
    batches: list[float] = []
    single: list[float] = []
    with fleet(plan.server, 1, module=MODULE):
        async with tasks.app:
            plain = tasks.saved.options(delay=3600.0, ignore_result=True)
            again = tasks.edited.options(delay=3600.0, max_wait=7200.0, ignore_result=True)
            for task in (tasks.async_noop, tasks.gathered):
                await _drained(task, 500)
            for _ in plan.rounds():
                debounced.append(await _sent(tasks, plain, calls) / await _sent(tasks, again, calls))
                batches.append(await _drained(tasks.async_noop, calls) / await _drained(tasks.gathered, calls))
                began = time.perf_counter()
                await tasks.gathered.apply_async(1)
                single.append(1000 * (time.perf_counter() - began))
    return [
        Figure("keyed", "calls that replace each other: rate of sends over that of delayed ones", "x", debounced),
        Figure("keyed", "items of batches of 64: rate over that of plain jobs", "x", batches),
        Figure("keyed", "a lone item with batch_wait=0.05", "ms", single, more=False),
    ]
