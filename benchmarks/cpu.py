"""CPU-bound jobs on two worker processes, beside the same work in two bare processes.

What counts is the CPU time that the jobs had in the wall time of two cores. On a machine that does other things too,
even two bare processes do not get all of it, so they take turns with the workers, and the goal is for the ratio.
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
#: CPU seconds of one job, how many there are in one turn, and what is to be reached of the ideal.
# Many short ones, since at the end one process waits for the last job of the other.
_SIZES = ((0.0175, 256, 0.95), (1.0, 8, 0.99))
#: Pairs of turns in one repetition, for each size.
_PAIRS = 2
#: Seconds of work of both, and wall seconds that they took.
_Turn = tuple[float, float]


def _steps_per_second() -> float:
    """How much of the work this machine does in a second; the best of a few tries."""
    steps = 500_000
    return max(steps / spin(steps) for _ in range(5))


def _spin_often(steps: int, count: int) -> float:
    return sum(spin(steps) for _ in range(count))


def _bare(pool: ProcessPoolExecutor, steps: int, count: int) -> _Turn:
    """The work in the processes of a pool, each with its fixed share."""
    began = time.perf_counter()
    halves = [pool.submit(_spin_often, steps, count // PROCESSES) for _ in range(PROCESSES)]
    spent = sum(half.result() for half in halves)
    return spent, time.perf_counter() - began


async def _queued(tasks: Tasks, steps: int, count: int) -> _Turn:
    """The work as jobs, from the first send to the last value."""
    began = time.perf_counter()
    spent = sum(await gather([tasks.spin.apply_async(steps) for _ in range(count)]))
    return spent, time.perf_counter() - began


async def _pair(
    tasks: Tasks, pool: ProcessPoolExecutor, steps: int, count: int, *, queued_first: bool
) -> tuple[float, float, float]:
    """A turn of each. Percent: the wall time of the bare processes over that of the workers, and what both get of the
    two cores."""
    if queued_first:
        queued = await _queued(tasks, steps, count)
    bare = _bare(pool, steps, count)
    if not queued_first:
        queued = await _queued(tasks, steps, count)
    ideal = [100 * spent / PROCESSES / wall for spent, wall in (queued, bare)]
    return 100 * bare[1] / queued[1], ideal[0], ideal[1]


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = Tasks(plan.server.url)
    speed = _steps_per_second()
    found: dict[float, list[tuple[float, float, float]]] = {seconds: [] for seconds, _, _ in _SIZES}
    for _ in plan.rounds():
        # The same code takes up to a sixth more CPU time in one process than in another, for as long as these live:
        # new ones for every repetition.
        with (
            fleet(plan.server, PROCESSES),
            ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool,
        ):
            _bare(pool, 10_000, PROCESSES)
            async with tasks.app:
                await _queued(tasks, 10_000, 100)
                for seconds, count, _ in _SIZES:
                    for n in range(_PAIRS):
                        pair = await _pair(tasks, pool, round(seconds * speed), count, queued_first=bool(n % 2))
                        found[seconds].append(pair)
    figures = []
    for seconds, _, goal in _SIZES:
        name = f"{seconds:g} s jobs" if seconds >= 1 else f"{1000 * seconds:g} ms jobs"
        walls, queued, bare = zip(*found[seconds], strict=True)
        ratio = [100 * one / other for one, other in zip(queued, bare, strict=True)]
        what = f"{name}, {PROCESSES} workers beside {PROCESSES} bare processes"
        figures.append(Figure("CPU-bound", what, "% of theirs", ratio, 100 * goal))
        figures.append(Figure("CPU-bound", f"{name}, {PROCESSES} workers", "% of two cores", queued))
        figures.append(Figure("CPU-bound", f"{name}, {PROCESSES} bare processes", "% of two cores", bare))
        figures.append(Figure("CPU-bound", f"{name}, wall time of these over that of the workers", "%", walls))
    return figures
