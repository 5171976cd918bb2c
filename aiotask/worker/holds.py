"""Retries that hold back a limit: ``raise Retry(delay=30, limit=True)``."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ..broker import Broker, Requeue
from ..brokers.limits import Limits
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.agent import agent
from ..loops.delay import BrokerDelay
from .settler import Settler

__all__ = ["Holds"]

logger = logging.getLogger("aiotask.worker")


class Holds:
    """Has the broker hold a limit, and gives the job back after that: else another one could start in between."""

    def __init__(self, broker: Broker, settler: Settler) -> None:
        self._broker = broker
        self._settler = settler
        self._holding: set[asyncio.Task[None]] = set()
        self._report_error = ErrorReporter(logger, "The broker refused to hold a limit; the job is retried: %s")

    def put(self, requeue: Requeue, limit: str) -> None:
        """Hold this limit and key (``NAME:KEY``) for the delay of the retry, and give the job back."""
        holding = agent(self._hold(requeue, limit))
        self._holding.add(holding)
        holding.add_done_callback(self._holding.discard)

    async def _hold(self, requeue: Requeue, limit: str) -> None:
        delay = BrokerDelay()
        while True:
            try:
                await cast("Limits", self._broker).hold_limit(limit, requeue.delay)
                break
            except ConnectionLost:
                await delay.wait()
            except BrokerError as error:
                self._report_error(error)
                break
        self._settler.requeue(requeue)

    async def settle_all(self) -> None:
        """Return once nothing is under way here."""
        while self._holding:
            await asyncio.wait(self._holding)
