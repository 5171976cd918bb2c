"""Fairness: short jobs among long ones, async and sync. None waits behind a long one while a worker is free.

Every job says where and when it ran. Free is a worker whose thread has nothing to do: it could run either kind, since
there are always fewer async jobs than ``--max-in-flight``.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from aiotask import AsyncResult, Task, gather

from .figure import Figure, percentile
from .fleet import fleet
from .plan import Plan
from .tasks import Ran, Tasks

__all__ = ["Run", "beside_a_free_worker", "measure"]

PROCESSES = 4
SHORT = 0.001
#: Short jobs that are sent at once, and how many long ones of each kind are among them: one thread stays free.
_BURST = 600
_LONG = 3
#: Then so many short jobs a second, for so many times the length of a long one; and long jobs at the same time.
_PER_SECOND = 400
_LENGTHS = 2
_AT_A_TIME = 3


@dataclass(frozen=True, slots=True)
class Run:
    """When one job was sent, where it ran, and when (monotonic clock)."""

    sent: float
    pid: int
    began: float
    ended: float


def beside_a_free_worker(short: Sequence[Run], sync: Sequence[Run], pids: Sequence[int]) -> list[float]:
    """For each of these jobs: the longest time that it waited while one and the same worker was free.

    Args:
        sync: all runs of sync jobs, which are what keeps a worker's thread busy.
        pids: of the workers, each with one thread.
    """
    busy: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for run in sync:
        busy[run.pid].append((run.began, run.ended))
    free = {}
    for pid in pids:
        spans = [(-inf, -inf), *sorted(busy[pid]), (inf, inf)]
        free[pid] = [(before[1], after[0]) for before, after in pairwise(spans)]
    return [max(_longest(free[pid], run.sent, run.began) for pid in pids) for run in short]


def _longest(spans: list[tuple[float, float]], since: float, until: float) -> float:
    """The longest part of one span that lies between; the spans are in order, and do not overlap."""
    longest = 0.0
    for began, ended in spans[bisect_left(spans, since, key=lambda span: span[1]) :]:
        if began >= until:
            break
        longest = max(longest, min(ended, until) - max(began, since))
    return longest


class _Sender:
    """Sends jobs and remembers when."""

    def __init__(self, tasks: Tasks, long: float) -> None:
        self._kinds: dict[bool, Task[[float], Ran]] = {True: tasks.async_nap, False: tasks.sync_nap}
        self._long = long
        #: Kind, whether it is a short one, when it was sent.
        self._sent: list[tuple[bool, bool, float]] = []
        self._results: list[AsyncResult[Ran]] = []

    def send(self, *, is_async: bool, is_short: bool) -> None:
        self._results.append(self._kinds[is_async].apply_async(SHORT if is_short else self._long))
        self._sent.append((is_async, is_short, time.monotonic()))

    async def runs(self) -> dict[tuple[bool, bool], list[Run]]:
        """By kind and length, once all have run."""
        found: dict[tuple[bool, bool], list[Run]] = defaultdict(list)
        for (is_async, is_short, sent), ran in zip(self._sent, await gather(self._results), strict=True):
            found[is_async, is_short].append(Run(sent, *ran))
        return found


async def _mixed(tasks: Tasks, long: float, seed: int) -> dict[tuple[bool, bool], list[Run]]:
    """A burst, and then a steady flow, of short and long jobs of both kinds."""
    chance = random.Random(seed)
    sender = _Sender(tasks, long)
    burst = [(is_async, True) for is_async in (True, False) for _ in range(_BURST // 2)]
    burst += [(is_async, False) for is_async in (True, False) for _ in range(_LONG)]
    chance.shuffle(burst)
    for is_async, is_short in burst:
        sender.send(is_async=is_async, is_short=is_short)
    share = _AT_A_TIME / (long * _PER_SECOND)
    end = time.monotonic() + _LENGTHS * long
    while time.monotonic() < end:
        await asyncio.sleep(1 / _PER_SECOND)
        sender.send(is_async=chance.random() < 0.5, is_short=chance.random() >= share)
    return await sender.runs()


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = Tasks(plan.server.url)
    # Milliseconds: the worst of each repetition, and what 99 % of the async jobs waited at most.
    worst: dict[bool, list[float]] = {True: [], False: []}
    whole: list[float] = []
    with fleet(plan.server, PROCESSES) as workers:
        async with tasks.app:
            for n in plan.rounds():
                runs = await _mixed(tasks, plan.long, n)
                sync = runs[False, True] + runs[False, False]
                for is_async, values in worst.items():
                    waits = beside_a_free_worker(runs[is_async, True], sync, workers.pids)
                    values.append(1000 * max(waits))
                whole.append(1000 * percentile([run.began - run.sent for run in runs[True, True]], 0.99))
    figures = []
    for is_async, values in worst.items():
        name = f"1 ms {'async' if is_async else 'sync'} jobs among {plan.long:g} s ones, {PROCESSES} processes"
        figures.append(Figure("fairness", f"{name}: worst wait beside a free worker", "ms", values, more=False))
    figures.append(Figure("fairness", "the async ones: whole wait, whatever was free, p99", "ms", whole, more=False))
    return figures
