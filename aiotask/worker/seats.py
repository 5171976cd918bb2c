"""Seats: how many async jobs run at a time in one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from .run import Run

__all__ = ["AWAY", "Seats"]

#: Jobs that may wait for other jobs in one process, beside those that run.
AWAY = 10_000


class Seats:
    """The seats of one process. A job needs a seat to run, and leaves it while it waits for another job's outcome.

    Otherwise parents could take all seats and wait for children that never get one. The workers of one process share
    the seats. All methods are for their loop.

    Args:
        count: number of jobs that run at a time.
        first: number of the first slot. A slot tells the jobs that have begun from each other, on the board; a job
            keeps its slot while it waits.
    """

    def __init__(self, count: int, first: int = 0) -> None:
        self.count = self._free = count
        # Taken from the end, so that the low slots are used most.
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
        """Take back the seat and the slot of a job that has ended."""
        self._slots.append(run.slot)
        run.ended = True
        if run.seated:
            if self._returning:
                self._vacate(run)
            else:
                run.seated = False
                self._free += 1

    def take_slots(self, count: int) -> list[int]:
        """So many slots for the items of a batch, which have one seat together, or fewer: each seat keeps one."""
        count = max(0, min(count, len(self._slots) - self.count))
        return [self._slots.pop() for _ in range(count)]

    def give_back_slots(self, slots: Sequence[int]) -> None:
        """Take back the slots of the items of a batch that has ended."""
        self._slots += reversed(slots)

    def leave(self, run: Run) -> None:
        """Free the seat of a job, one of whose asyncio tasks begins to wait for an outcome."""
        run.waits += 1
        if run.seated and not run.ended:
            self._vacate(run)

    async def come_back(self, run: Run) -> None:
        """End the wait of one of the job's asyncio tasks; after the last one, return once the job has a seat again."""
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
        """End the wait of one of the job's asyncio tasks that is cancelled; a cancel does not wait for a seat."""
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
