"""The agent that puts due jobs into their queues."""

from __future__ import annotations

import asyncio
import logging

from ..broker import BATCH_JOBS, Broker
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import PATIENCE, Complaint

__all__ = ["Due"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two ticks: a job may be sent with a shorter delay than any other.
TICK = 0.2


class Due:
    """Moves jobs whose time has come; any number of keepers may do so at once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._complain = Complaint(logger, "The broker refused to queue due jobs; trying again: %s", PATIENCE)

    async def run(self) -> None:
        while True:
            try:
                moved, until = await self._broker.promote()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._complain(error)
                await asyncio.sleep(TICK)
                continue
            if moved < BATCH_JOBS:
                await asyncio.sleep(TICK if until is None else min(TICK, max(until, 0.001)))
