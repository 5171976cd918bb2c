"""The agent that has the broker mark jobs which run at most once (``acks="early"``) before they start."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ..broker import Begin, Broker
from ..errors import BrokerError, ConnectionLost
from ..loops.delay import BrokerDelay
from .async_lane import AsyncLane
from .life import Life
from .membership import Membership
from .rows import pick
from .run import Run
from .seats import Seats
from .sync_lane import SyncLane

__all__ = ["AtMostOnce"]

logger = logging.getLogger("aiotask.worker")

#: Jobs in one call: all of them are lost if the process dies before they have started.
AT_A_TIME = 25


class AtMostOnce:
    """A row of runs that the broker has to mark as begun; only runs that can start at once are marked.

    A marked job is run by no other worker: recovery ends it as lost. So few are marked at a time, and a run that waits
    here can still go back to its queue.

    Args:
        lost: returns the sealed outcome that a run gets if its process dies.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        life: Life,
        seats: Seats,
        asyncs: AsyncLane,
        syncs: SyncLane,
        *,
        lost: Callable[[Run], bytes],
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._life = life
        self._seats = seats
        self._asyncs = asyncs
        self._syncs = syncs
        self._lost = lost
        self._row: deque[Run] = deque()
        #: Runs in the call to the broker that is under way.
        self.asked: list[Run] = []
        self._arrived = asyncio.Event()
        self._delay = BrokerDelay()

    def put(self, run: Run) -> None:
        """Append a run to the row."""
        self._row.append(run)
        self._arrived.set()
        self._life.stir()

    def waiting(self, *, is_async: bool) -> int:
        """How many runs of this kind have not begun."""
        return sum(run.task.is_async is is_async for run in (*self._row, *self.asked)) if self._row or self.asked else 0

    def take_back(self, *, sync_only: bool = False) -> list[Run]:
        """Take the runs out of the row that the broker has not been asked to mark."""
        back = [run for run in self._row if not (sync_only and run.task.is_async)]
        self._row = deque(run for run in self._row if run not in back)
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here."""
        return pick(self._row, id)

    async def run(self, go: Callable[[Run], None], gone: Callable[[Run], None]) -> None:
        """Have the broker mark runs, and start them, until cancelled.

        Args:
            go: called with a run that may start.
            gone: called with a run that belongs to another worker by now.
        """
        while True:
            while batch := self._next():
                await self._ask(batch, go, gone)
            if self._row:
                # There is no room for these runs.
                await self._life.wait(None)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _next(self) -> list[Run]:
        """Take the runs out of the row that can start at once."""
        syncs = self._syncs
        room = {
            True: self._seats.free - self._asyncs.waiting,
            False: syncs.threads - syncs.busy - syncs.waiting,
        }
        batch: list[Run] = []
        for run in list(self._row):
            if room[run.task.is_async] > 0 and len(batch) < AT_A_TIME:
                room[run.task.is_async] -= 1
                batch.append(run)
                self._row.remove(run)
        return batch

    async def _ask(self, batch: list[Run], go: Callable[[Run], None], gone: Callable[[Run], None]) -> None:
        self.asked = batch
        incarnation = self._membership.incarnation
        asking = [Begin(run.delivery, self._lost(run), run.job.result_ttl) for run in batch]
        while True:
            try:
                # Repeating the call is harmless: the answer is the same, unless another worker has the job by then.
                answers = await self._broker.begin(incarnation, asking)
                break
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    logger.error(
                        "The broker refused to record the start of %d jobs; trying again: %s", len(batch), error
                    )
                await self._delay.wait()
        if self._delay.failures:
            self._delay.reset()
        self.asked = []
        for run, is_ours in zip(batch, answers, strict=True):
            if is_ours:
                run.begun = True
                go(run)
            else:
                gone(run)
