"""The agent that tells the broker of jobs which run once at most (``acks="early"``), before they start."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ..broker import Begin, Broker
from ..errors import BrokerError, ConnectionLost
from .membership import pause
from .run import Run

__all__ = ["Early"]

logger = logging.getLogger("aiotask.worker")

#: Jobs in one question: all of them are lost if the process dies before they have started.
AT_A_TIME = 25


class Early:
    """A row of runs that wait for the broker's word; only what is about to start is let through.

    From that word on nobody runs them again: whoever recovers one ends it as lost. So few are asked for at a time,
    and what waits here can still go back.

    Args:
        lost: the sealed outcome of a run whose process dies.
        room: how many may go on now, async and sync.
        go: called with a run that may start.
        gone: called with a run that is somebody else's by now.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        lost: Callable[[Run], bytes],
        room: Callable[[], tuple[int, int]],
        go: Callable[[Run], None],
        gone: Callable[[Run], None],
    ) -> None:
        self._broker = broker
        self._lost = lost
        self._room = room
        self._go = go
        self._gone = gone
        self._row: deque[Run] = deque()
        #: Runs in the question under way.
        self.asked: list[Run] = []
        self._wake = asyncio.Event()
        self.incarnation = ""

    def put(self, run: Run) -> None:
        self._row.append(run)
        self._wake.set()

    def stir(self) -> None:
        """There may be room now."""
        if self._row:
            self._wake.set()

    def waiting(self, *, is_async: bool) -> int:
        """How many of this kind have not begun."""
        return sum(run.task.is_async is is_async for run in (*self._row, *self.asked)) if self._row or self.asked else 0

    def take_back(self, *, sync_only: bool = False) -> list[Run]:
        """Every run that the broker has not been told of."""
        back = [run for run in self._row if not (sync_only and run.task.is_async)]
        self._row = deque(run for run in self._row if run not in back)
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here."""
        for run in self._row:
            if run.job.id == id:
                self._row.remove(run)
                return run
        return None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next():
                await self._ask(batch)

    def _next(self) -> list[Run]:
        rooms = dict(zip((True, False), self._room(), strict=True))
        batch: list[Run] = []
        for run in list(self._row):
            if rooms[run.task.is_async] > 0 and len(batch) < AT_A_TIME:
                rooms[run.task.is_async] -= 1
                batch.append(run)
                self._row.remove(run)
        return batch

    async def _ask(self, batch: list[Run]) -> None:
        self.asked = batch
        incarnation = self.incarnation
        asking = [Begin(run.delivery, self._lost(run), run.job.result_ttl) for run in batch]
        delay = 0.05
        while True:
            try:
                # Twice is fine: the second answer is the same, unless somebody else has it by then.
                answers = await self._broker.begin(incarnation, asking)
                break
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    logger.error(
                        "The broker refused to record the start of %d jobs; trying again: %s", len(batch), error
                    )
                delay = await pause(delay)
        self.asked = []
        for run, is_ours in zip(batch, answers, strict=True):
            if is_ours:
                run.begun = True
                self._go(run)
            else:
                self._gone(run)
