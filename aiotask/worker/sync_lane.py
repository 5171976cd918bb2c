"""Where sync tasks run: threads that take runs in order, beside the loop that feeds them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from queue import SimpleQueue

from .budget import LONG, SHORT, PeakMemory
from .rows import pick
from .run import Run

__all__ = ["SyncLane"]


class SyncLane:
    """A row of sync runs, which ``serve`` executes in the main thread of a worker process or in any other thread.

    Waking a thread costs some 200 us, so ended runs go back to the loop in batches: the first one schedules a callback
    in the loop, which takes all that have ended by then.

    Args:
        peak: measures the memory of long runs; None: it is not measured.

    Attributes:
        has_limited: whether runs of limited jobs may be in the row.
    """

    def __init__(self, peak: PeakMemory | None = None) -> None:
        self.peak = peak
        self._row: deque[Run] = deque()
        self.has_limited = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = 0
        self._stopping = False
        #: Runs under way, by the slot of their thread.
        self.current: dict[int, Run] = {}
        self.threads = 0
        self._done: deque[Run] = deque()
        self._rung = False
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- the loop's side

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give ended runs back to their owners in this loop from now on."""
        self._loop = loop

    def put(self, runs: Sequence[Run]) -> None:
        """Append runs to the row, many in one call: waking a thread costs more than a small job."""
        self._row.extend(runs)
        for _ in range(min(self._idle, len(runs))):
            self._wake.put(None)

    def take_back(self, owner: object, keep: int = 0) -> list[Run]:
        """Take back this owner's runs that have not started, except for the ``keep`` oldest; the newest is last."""
        back: list[Run] = []
        others: list[Run] = []
        while True:
            try:
                run = self._row.pop()
            except IndexError:
                break
            (back if run.owner is owner else others).append(run)
        back.reverse()
        self.put((*reversed(others), *back[:keep]))
        return back[keep:]

    def pick(self, owner: object, id: str) -> Run | None:
        """Take this one back, if it is here and has not started."""
        return pick(self._row, id, owner)

    @property
    def waiting(self) -> int:
        return len(self._row)

    @property
    def row(self) -> list[Run]:
        """The runs that have not begun."""
        return list(self._row)

    @property
    def busy(self) -> int:
        return len(self.current)

    def stuck(self, seconds: float) -> bool:
        """Whether every thread has been on its run for this number of seconds."""
        if len(self.current) < max(1, self.threads):
            return False
        runs = list(self.current.values())
        limit = time.monotonic() - seconds
        return len(runs) >= max(1, self.threads) and all(0 < run.started_mono < limit for run in runs)

    def until_stuck(self, seconds: float) -> float:
        """Seconds until every thread may have been on its run for ``seconds``; below 0: every thread has been."""
        youngest = max((run.started_mono for run in list(self.current.values())), default=0.0)
        return youngest + seconds - time.monotonic() if youngest else 0.0

    def stop(self) -> None:
        """Let ``serve`` return after the run under way."""
        self._stopping = True
        for _ in range(max(1, self.threads)):
            self._wake.put(None)

    def _ring(self) -> None:
        self._rung = False
        done = self._done
        runs = [done.popleft() for _ in range(len(done))]
        first = runs[0].owner if runs else None
        if first is not None and not [run for run in runs if run.owner is not first]:
            first.collect(runs)
            return
        for owner, theirs in groupby(runs, key=attrgetter("owner")):
            owner.collect(list(theirs))

    # ---- the thread's side

    def serve(self, slot: int, execute: Callable[[Run], None]) -> None:
        """Take runs and execute them until stopped."""
        self.threads += 1
        row, done, current = self._row, self._done, self.current
        cpu, until = time.thread_time(), 0.0
        while not self._stopping:
            try:
                run = row.popleft()
            except IndexError:
                self._idle += 1
                if not row and not self._stopping:
                    self._wake.get()
                self._idle -= 1
                continue
            run.slot = slot
            current[slot] = run
            try:
                execute(run)
                if (end := run.started_mono + run.took) >= until:
                    # Reading a thread's clock costs as much as a small job: it is read once a millisecond at most.
                    before, cpu, until = cpu, time.thread_time(), end + SHORT
                    if run.took >= SHORT:
                        run.cpu = min(cpu - before, run.took)
                        if run.took >= LONG and self.peak is not None:
                            run.memory = self.peak.since(run.started_mono)
            finally:
                current.pop(slot, None)
                done.append(run)
                if not self._rung:
                    self._rung = True
                    assert self._loop is not None
                    if not self._loop.is_closed():
                        self._loop.call_soon_threadsafe(self._ring)
