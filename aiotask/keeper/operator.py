"""The agent that answers operators: where do the processes of this host stand?"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..broker import BATCH_JOBS, Broker, Delivery, Meta, Notice
from ..errors import BrokerError, SealError
from ..log.throttle import Complaint
from ..wire.control import Control

__all__ = ["Requests", "Stand"]

#: Says where the processes of a host stand, as plain data, and what is to be said beside it.
Stand = Callable[[], Awaitable[tuple[list[dict[str, Any]], str]]]

logger = logging.getLogger("aiotask.keeper")

#: Messages that wait to be looked at; what comes beyond that is a flood, and counted only.
_MOST = 1000


class Requests:
    """Hears control messages, and answers those that carry the seal of its app.

    Args:
        stand: is asked for the answer.
    """

    def __init__(self, broker: Broker, secrets: Sequence[str], app: str, host: str, stand: Stand) -> None:
        self._broker = broker
        self._control = Control(secrets, app)
        self._host = host
        self._stand = stand
        self._heard: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self._answered: deque[str] = deque(maxlen=100)
        self._forged = 0
        self._complain = Complaint(logger, "A control message was ignored: %s")

    def hear(self, notice: Notice) -> None:
        """A message came for this host."""
        if len(self._heard) < _MOST:
            self._heard.append(notice)
        else:
            self._forged += 1
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._heard:
                await self._answer_to(self._heard.popleft())
            try:
                await self._count_forged()
            except BrokerError as error:
                logger.debug("%d forged control messages could not be counted: %s", self._forged, error)

    async def _answer_to(self, notice: Notice) -> None:
        try:
            ask = self._control.open_ask(notice.outcome or b"")
        except SealError as error:
            self._complain(error)
            self._forged += 1
            return
        if ask.id in self._answered:
            return
        self._answered.append(ask.id)
        try:
            processes, note = await self._stand()
            answer = self._control.answer(ask.id, self._host, processes, note)
            await self._broker.tell(ask.reply, Notice(self._host, answer))
        except BrokerError as error:
            logger.warning("A request of an operator could not be answered: %s", error)

    async def _count_forged(self) -> None:
        """With everything else that was no message of this app."""
        while self._forged:
            count = min(self._forged, BATCH_JOBS)
            misfit = Delivery("", "", "", b"", Meta())
            await self._broker.reject("", [(misfit, "a control message without a valid seal")] * count)
            self._forged -= count
