"""Seats: how many async jobs run at a time in one process."""

from __future__ import annotations

import asyncio
from collections import deque

from .run import Run

__all__ = ["AWAY", "Seats"]

#: Jobs that may wait for other jobs in one process, beside those that run.
AWAY = 10_000


class Seats:
    """A job needs a seat to run, and leaves it to others while it waits for another job's outcome.

    Else parents could take all seats and wait for children that never get one. Several workers of one
    process share them. All methods are for the worker's loop.

    Args:
        count: jobs that run at a time.
        first: number of the first slot. A slot tells the jobs that have begun from each other, on the board; a job
            keeps its slot while it waits.
    """

    def __init__(self, count: int, first: int = 0) -> None:
        self.count = self._free = count
        # The last one goes first: the low ones are used always.
        self._slots = list(range(first + count + AWAY - 1, first - 1, -1))
        self._returning: deque[tuple[Run, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        return self._free

    @property
    def taken(self) -> int:
        return self.count - self._free

    def take(self, run: Run) -> bool:
        """Give a seat and a slot to a job that begins. False: all are taken."""
        if self._free <= 0 or not self._slots:
            return False
        self._free -= 1
        run.slot = self._slots.pop()
        run.seated = True
        return True

    def give_back(self, run: Run) -> None:
        """The job has ended."""
        self._slots.append(run.slot)
        run.ended = True
        if run.seated:
            if self._returning:
                self._vacate(run)
            else:
                run.seated = False
                self._free += 1

    def leave(self, run: Run) -> None:
        """The job waits for an outcome, in one of its tasks at least."""
        run.waits += 1
        if run.seated and not run.ended:
            self._vacate(run)

    async def come_back(self, run: Run) -> None:
        """The job has its outcome and goes on, with a seat once none of its tasks waits any more."""
        run.waits -= 1
        if run.waits or run.seated or run.ended:
            return
        if self._free > 0:
            self._free -= 1
            run.seated = True
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._returning.append((run, future))
        await future

    def give_up(self, run: Run) -> None:
        """The job stops waiting because it is cancelled, and that is not to wait for a seat."""
        run.waits -= 1

    def _vacate(self, run: Run) -> None:
        run.seated = False
        self._free += 1
        while self._free > 0 and self._returning:
            next_run, future = self._returning.popleft()
            if future.done():
                continue
            future.set_result(None)
            if not (next_run.ended or next_run.seated or next_run.waits):
                self._free -= 1
                next_run.seated = True
