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
from ..log.throttle import Complaint
from .membership import pause

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
        self._complain = Complaint(logger, "The broker refused to go on with graphs; trying again: %s")

    async def run(self) -> None:
        """Until cancelled."""
        delay = 0.05
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self.advance():
                    pass
                delay = 0.05
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._complain(error)
                self._wake.set()
                delay = await pause(delay)

    async def advance(self) -> bool:
        """Work off a part of it; whether a worker can do more at once."""
        return (await cast("Graphs", self._broker).advance()).left > 0

    async def is_empty(self) -> bool:
        """Whether nothing is left that may make a job ready."""
        if GRAPHS not in features(self._broker.url):
            return True
        return not await self.advance()
