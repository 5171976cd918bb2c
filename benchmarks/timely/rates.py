"""Rates: the part of each that is reached while workers are free, and by how much its bound is missed."""

from __future__ import annotations

from aiotask import gather
from aiotask.values.limit import burst_of

from ..figure import Figure
from ..fleet import fleet
from ..plan import Plan
from .handover import MODULE
from .tasks import RATES, TimelyTasks

__all__ = ["excess", "measure"]

PROCESSES = 4
#: Seconds for which a rate is measured.
_SECONDS = 3.0
#: Seconds within which a worker starts what it was lent.
_LENT = 0.05
_REACHED = 0.95


def excess(starts: list[float], rate: float, burst: int) -> float:
    """Seconds by which the shortest window is too short for the starts in it; negative where there is room."""
    ordered = sorted(starts)
    return max(
        (last - first + 1 - burst) / rate - (ordered[last] - ordered[first])
        for first in range(len(ordered))
        for last in range(first, len(ordered))
    )


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = TimelyTasks(plan.server.url)
    reached: dict[int, list[float]] = {rate: [] for rate in RATES}
    over: dict[int, list[float]] = {rate: [] for rate in RATES}
    async with tasks.app:
        for _ in plan.rounds():
            for rate, task in tasks.paced.items():
                # They wait before the first worker is there.
                results = [task.apply_async(n) for n in range(round(rate * _SECONDS) + 1)]
                await tasks.app.flush()
                with fleet(plan.server, PROCESSES, clear=False, module=MODULE):
                    starts = await gather(results)
                    # What is reached, by workers that are all in service.
                    more = sorted(await gather([task.apply_async(n) for n in range(round(rate * _SECONDS) + 1)]))
                reached[rate].append((len(more) - 1) / (more[-1] - more[0]) / rate)
                over[rate].append(1000 * excess([*starts, *more], rate, burst_of(rate)))
    figures = []
    for rate in RATES:
        figures.append(Figure("rates", f"{rate}/s: part of it that is reached", "x", reached[rate], _REACHED))
        name = f"{rate}/s: by how much a window is too short for its starts"
        figures.append(Figure("rates", name, "ms", over[rate], 1000 * _LENT, more=False))
    return figures
