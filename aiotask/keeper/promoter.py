"""The agent that puts due jobs into their queues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from ..broker import BATCH_JOBS, Broker
from ..brokers.graphs import Graphs, GraphsDue
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from .expiry import Expiries

__all__ = ["Due"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two ticks, also where the next job is due later: a job sent meanwhile may be due before it.
TICK = 0.2


class Due:
    """Moves due jobs into their queues; any number of keepers may do so at once.

    Args:
        hear: told after each attempt what is due of graphs. None: the broker has none.
        expiries: ends the jobs that have expired. None: the broker does not know them.
    """

    def __init__(
        self, broker: Broker, hear: Callable[[GraphsDue], None] | None = None, expiries: Expiries | None = None
    ) -> None:
        self._broker = broker
        self._hear = hear
        self._expiries = expiries
        self._report_error = ErrorReporter(
            logger, "The broker refused to queue due jobs; trying again: %s", KEEPER_LOG_DELAY
        )

    async def run(self) -> None:
        while True:
            try:
                moved, until = await self._broker.promote()
                more = self._expiries is not None and await self._expiries.end()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                    # A key that stops this need not stop the graphs.
                    self._tell(GraphsDue.LATER)
                await asyncio.sleep(TICK)
                continue
            self._tell(None)
            if moved < BATCH_JOBS and not more:
                await asyncio.sleep(TICK if until is None else min(TICK, max(until, 0.001)))

    def _tell(self, due: GraphsDue | None) -> None:
        """Tell what is due of graphs. None: what the broker has just found."""
        if self._hear is not None:
            self._hear(cast("Graphs", self._broker).graphs_due if due is None else due)
