"""One at a time over two supervisors with four workers each: how long nothing runs between two jobs of a limit."""

from __future__ import annotations

from itertools import pairwise

from aiotask import Task, gather

from ..figure import Failed, Figure, percentile
from ..fleet import fleet
from ..plan import Plan
from ..tasks import Ran
from .tasks import TimelyTasks

__all__ = ["measure"]

HOSTS, PROCESSES = 2, 4
MODULE = "benchmarks.timely.tasks"
#: Jobs of a burst, and seconds that each takes.
_JOBS, _SECONDS = 300, 0.005
#: Milliseconds.
_PROMISE = 5.0


async def _gaps(task: Task[[float], Ran]) -> list[float]:
    """Milliseconds from the end of each job to the start of the next one."""
    ran = sorted((began, ended) for _, began, ended in await gather([task.apply_async(_SECONDS) for _ in range(_JOBS)]))
    gaps = [1000 * (after[0] - before[1]) for before, after in pairwise(ran)]
    if min(gaps) < 0:
        raise Failed("Two jobs of a limit that admits one ran at once.")
    return gaps


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = TimelyTasks(plan.server.url)
    kinds: dict[str, Task[[float], Ran]] = {"async": tasks.alone_async, "sync": tasks.alone_sync}
    middle: dict[str, list[float]] = {kind: [] for kind in kinds}
    late: dict[str, list[float]] = {kind: [] for kind in kinds}
    with (
        fleet(plan.server, PROCESSES, module=MODULE),
        fleet(plan.server, PROCESSES, clear=False, module=MODULE),
    ):
        async with tasks.app:
            for _ in plan.rounds():
                for kind, task in kinds.items():
                    gaps = await _gaps(task)
                    middle[kind].append(percentile(gaps, 0.5))
                    late[kind].append(percentile(gaps, 0.95))
    figures = []
    for kind in kinds:
        name = f"max_running=1, {HOSTS} x {PROCESSES} processes, {kind}: nothing runs between two jobs"
        figures.append(Figure("handover", f"{name}, p50", "ms", middle[kind], _PROMISE, more=False))
        figures.append(Figure("handover", f"{name}, p95", "ms", late[kind], more=False))
    return figures
