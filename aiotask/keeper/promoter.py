"""The agent that puts due jobs into their queues."""

from __future__ import annotations

import asyncio
import logging

from ..broker import BATCH_JOBS, Broker
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter

__all__ = ["Due"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two ticks, also where the next job is due later: a job sent meanwhile may be due before it.
TICK = 0.2


class Due:
    """Moves due jobs into their queues; any number of keepers may do so at once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._report_error = ErrorReporter(
            logger, "The broker refused to queue due jobs; trying again: %s", KEEPER_LOG_DELAY
        )

    async def run(self) -> None:
        while True:
            try:
                moved, until = await self._broker.promote()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await asyncio.sleep(TICK)
                continue
            if moved < BATCH_JOBS:
                await asyncio.sleep(TICK if until is None else min(TICK, max(until, 0.001)))
