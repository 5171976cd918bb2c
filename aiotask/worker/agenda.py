"""The agent that works off the agenda of the broker: what the ends of nodes have left to do for graphs."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ..broker import Broker
from ..brokers import features
from ..brokers.graphs import Graphs
from ..brokers.technology import GRAPHS
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay

__all__ = ["Agenda"]

logger = logging.getLogger("aiotask.worker")


class Agenda:
    """Idle until there is something on it; beside plain finishes, which do not wait for it.

    What this worker leaves undone, because it dies or because a cancel is under way, is done by a keeper.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._wake = asyncio.Event()
        #: Called when the broker says that there is work on the agenda.
        self.stir = self._wake.set
        self._report_error = ErrorReporter(logger, "The broker refused to go on with graphs; trying again: %s")

    async def run(self) -> None:
        """Until cancelled."""
        delay = BrokerDelay()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self.advance():
                    pass
                delay.reset()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                self._wake.set()
                await delay.wait()

    async def advance(self) -> bool:
        """Work off a part of it; whether a worker can do more at once."""
        return (await cast("Graphs", self._broker).advance()).left > 0

    async def is_empty(self) -> bool:
        """Whether nothing is left that may make a job ready."""
        if GRAPHS not in features(self._broker.url):
            return True
        return not await self.advance()
