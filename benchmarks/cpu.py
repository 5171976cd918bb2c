"""CPU-bound jobs on two worker processes: the CPU time of the jobs over the wall time of both.

On a machine that does other things too, even two bare processes do not reach all of it, so the same
work without a queue is shown beside.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from aiotask import gather

from .figure import Figure
from .fleet import fleet
from .plan import Plan
from .tasks import Tasks, spin

__all__ = ["measure"]

PROCESSES = 2
#: CPU seconds of one job and how many there are; what is to be reached of the ideal.
_SIZES = ((0.0175, 128, 0.95), (1.0, 4, 0.99))


def _steps_per_second() -> float:
    """How much of the work this machine does in a second; the best of a few tries."""
    steps = 500_000
    return max(steps / spin(steps) for _ in range(5))


def _spin_often(steps: int, count: int) -> float:
    return sum(spin(steps) for _ in range(count))


def _bare(pool: ProcessPoolExecutor, steps: int, count: int) -> float:
    """Percent of the ideal that the processes of a pool reach, each with its fixed share of the work."""
    began = time.perf_counter()
    halves = [pool.submit(_spin_often, steps, count // PROCESSES) for _ in range(PROCESSES)]
    spent = sum(half.result() for half in halves)
    return 100 * spent / PROCESSES / (time.perf_counter() - began)


async def _queued(tasks: Tasks, steps: int, count: int) -> float:
    """Percent of the ideal that worker processes reach."""
    began = time.perf_counter()
    spent = sum(await gather([tasks.spin.apply_async(steps) for _ in range(count)]))
    return 100 * spent / PROCESSES / (time.perf_counter() - began)


async def measure(plan: Plan) -> list[Figure]:
    tasks = Tasks(plan.server.url)
    speed = _steps_per_second()
    queued: dict[float, list[float]] = {seconds: [] for seconds, _, _ in _SIZES}
    bare: dict[float, list[float]] = {seconds: [] for seconds, _, _ in _SIZES}
    with (
        fleet(plan.server, PROCESSES),
        ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool,
    ):
        _bare(pool, 10_000, PROCESSES)
        async with tasks.app:
            for _ in range(plan.reps):
                for seconds, count, _ in _SIZES:
                    steps = round(seconds * speed)
                    queued[seconds].append(await _queued(tasks, steps, count))
                    bare[seconds].append(_bare(pool, steps, count))
    figures = []
    for seconds, _, goal in _SIZES:
        name = f"{seconds:g} s jobs" if seconds >= 1 else f"{1000 * seconds:g} ms jobs"
        marks = (100 * goal, 100 * (2 * goal - 1))
        figures.append(Figure("CPU-bound", f"{name}, {PROCESSES} processes", "% of ideal", queued[seconds], *marks))
        figures.append(Figure("CPU-bound", "the same in bare processes", "% of ideal", bare[seconds]))
    return figures
