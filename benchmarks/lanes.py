"""Many queues and all priorities beside one queue with one priority."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Sequence

from aiotask import Task

from .drain import completions
from .figure import Figure
from .fleet import Fleet, fleet
from .plan import Plan
from .send import CHUNK
from .tasks import Tasks

__all__ = ["measure"]

QUEUES = 20
_NAMES = [f"bench-{n}" for n in range(QUEUES)]


async def _sent(tasks: Tasks, calls: Sequence[Task[[int], int]], jobs: int) -> float:
    """Send to each of these in turn; jobs per second."""
    in_turn = itertools.cycle(calls)
    gc.collect()
    began = time.perf_counter()
    for start in range(0, jobs, CHUNK):
        for n in range(start, min(start + CHUNK, jobs)):
            next(in_turn).apply_async(n)
        await asyncio.sleep(0)
    await tasks.app.flush()
    return jobs / (time.perf_counter() - began)


async def _rates(
    plan: Plan, workers: Fleet, tasks: Tasks, calls: Sequence[Task[[int], int]], jobs: int
) -> tuple[float, float]:
    """Sent per second, and completions per second of one worker."""
    with workers.held():
        plan.server.forget_counts()
        sent = await _sent(tasks, calls, jobs)
    return sent, await completions(plan.server, jobs)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = Tasks(plan.server.url)
    one = [tasks.async_noop]
    many = [tasks.async_noop.options(queue=queue, priority=n) for queue in _NAMES for n in range(10)]
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    # Both stay up, and have nothing to do while the other one has.
    with (
        fleet(plan.server, 1, "-q", "default") as few_lanes,
        fleet(plan.server, 1, "-q", ",".join(_NAMES), clear=False) as many_lanes,
    ):
        async with tasks.app:
            await _rates(plan, few_lanes, tasks, one, 2_000)
            await _rates(plan, many_lanes, tasks, many, 2_000)
            for _ in plan.rounds():
                # Neither always comes first.
                for is_many in (False, True, True, False):
                    workers, calls = (many_lanes, many) if is_many else (few_lanes, one)
                    found[is_many].append(await _rates(plan, workers, tasks, calls, plan.jobs))
    name = f"{QUEUES} queues with 10 priorities each"
    drained = {is_many: [pair[1] for pair in pairs] for is_many, pairs in found.items()}
    sends = [many[0] / one[0] for many, one in zip(found[True], found[False], strict=True)]
    drains = [many / one for many, one in zip(drained[True], drained[False], strict=True)]
    return [
        Figure("lanes", f"drain, {name}, 1 process", "jobs/s", drained[True]),
        Figure("lanes", "the same, 1 queue with 1 priority, in turns", "jobs/s", drained[False]),
        Figure("lanes", "drain, ratio", "x", drains, 0.95),
        Figure("lanes", "send, ratio", "x", sends),
    ]
