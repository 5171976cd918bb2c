"""The agent that goes on with graphs: with what ends have left to do, and with cancels until every job has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ..broker import Cancelled
from ..brokers.graphs import BATCH_CONCLUDED, Conclusion, Graphs, GraphsDue
from ..errors import BrokerError, ConnectionLost, JobCancelled
from ..job import Status
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from ..wire.ended import ended
from ..wire.seal import Sealer

__all__ = ["Agenda"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two ticks, at least: while there is work to do, or was a moment ago; and where graphs only wait. The
#: ticks of ``Due`` cause them, so each is half of such a tick below the time that is meant.
TICK, IDLE_TICK = 0.1, 0.9
#: Seconds for which ticks follow each other as before when there is nothing left to do.
STAY = 10.0
#: Seconds for which the outcome of a job is kept that was cancelled with its graph.
RESULT_TTL = 3600.0


class Agenda:
    """Any number of keepers may work on one agenda; what a keeper leaves undone when it dies, the next tick of another
    one goes on with. It ticks when ``Due`` has found graphs: an app without them pays nothing."""

    def __init__(self, broker: Graphs, secrets: Sequence[str]) -> None:
        self._broker = broker
        self._sealer = Sealer(secrets, "outcome")
        self._wake = asyncio.Event()
        #: By the monotonic clock.
        self._ticked_at = self._busy_until = 0.0
        #: Running jobs that were asked to end, by their graph.
        self._asked: dict[str, set[str]] = {}
        self._report_error = ErrorReporter(
            logger, "The broker refused to go on with graphs; trying again: %s", KEEPER_LOG_DELAY
        )

    def hear(self, due: GraphsDue) -> None:
        """What is due, as the broker said just now; called several times a second."""
        now = time.monotonic()
        rest = TICK if due is GraphsDue.NOW or now < self._busy_until else IDLE_TICK
        if due is not GraphsDue.NONE and now - self._ticked_at >= rest:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._ticked_at = time.monotonic()
            try:
                if await self.tick():
                    self._busy_until = time.monotonic() + STAY
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)

    async def tick(self) -> bool:
        """Work off the agenda, as far as it can be now; whether there was anything on it."""
        is_empty = True
        while True:
            advance = await self._broker.advance()
            is_empty = is_empty and not advance.left and not advance.cancelling
            if not advance.left:
                break
        self._asked = {graph: self._asked.get(graph, set()) for graph in advance.cancelling}
        for graph in advance.cancelling:
            await self._cancel(graph)
        return not is_empty

    async def _cancel(self, graph: str) -> None:
        """End the jobs of a cancelled graph that have not started, and ask those that run to end."""
        after, unfinished = 0, 0
        while page := await self._broker.unfinished(graph, after, BATCH_CONCLUDED):
            after = page[-1][0]
            unfinished += await self._conclude(graph, [id for _, id in page])
        if not unfinished:
            await self._broker.steer(graph, ended=True)

    async def _conclude(self, graph: str, ids: Sequence[str]) -> int:
        """The number of those that still run."""
        asked = self._asked[graph]
        batch = [self._conclusion(graph, id) for id in ids if id not in asked]
        running = len(ids) - len(batch)
        for item, is_ended in zip(batch, await self._broker.conclude(batch) if batch else (), strict=True):
            if not is_ended and await self._broker.cancel(item.id, item.outcome, RESULT_TTL) is Cancelled.ASKED:
                asked.add(item.id)
                running += 1
        return running

    def _conclusion(self, graph: str, id: str) -> Conclusion:
        message = f'Job "{id}" was cancelled with its graph "{graph}" before it ended.'
        outcome = ended(self._sealer, id, "", JobCancelled, message, graph=graph)
        return Conclusion(id, outcome, Status.CANCELLED, RESULT_TTL)
