"""The agent that answers operators: who ask for the stacks of this host's processes, or to drain or recycle it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..broker import BATCH_JOBS, Broker, Delivery, Notice
from ..brokers import inspect
from ..errors import BrokerError, SealError
from ..job import Meta
from ..log.throttle import ErrorReporter
from ..wire.control import FRESH, STACKS, Ask, Control

__all__ = ["Obey", "Requests", "Snapshot"]

#: Returns the processes of a host with their jobs and stacks, as plain data, and a note for the operator.
Snapshot = Callable[[], Awaitable[tuple[list[dict[str, Any]], str]]]
#: Does what an operator asks of a host. Returns whether it was done, and a note for the operator.
Obey = Callable[[Ask], Awaitable[tuple[bool, str]]]

logger = logging.getLogger("aiotask.keeper")

#: Messages that may wait for an answer; further ones are a flood, and only counted.
_MOST = 1000


class Requests:
    """Receives control messages, and answers those that carry the seal of its app.

    A message that changes something is obeyed by the host that it names, once, and within ``FRESH`` seconds of the
    broker's clock: a recorded message that is sent again does nothing.

    Args:
        snapshot: called for each answer to a question for stacks.
        obey: called for each other request.
    """

    def __init__(
        self, broker: Broker, secrets: Sequence[str], app: str, host: str, snapshot: Snapshot, obey: Obey
    ) -> None:
        self._broker = broker
        self._control = Control(secrets, app)
        self._host = host
        self._snapshot = snapshot
        self._obey = obey
        #: By the id of a request that changes something: when it was made (Unix seconds, by the broker's clock).
        self._heard: dict[str, float] = {}
        self._received: deque[Notice] = deque()
        self._wake = asyncio.Event()
        self._answered: deque[str] = deque(maxlen=100)
        self._forged = 0
        self._report_error = ErrorReporter(logger, "A control message was ignored: %s")

    def receive(self, notice: Notice) -> None:
        """Queue a message that came for this host."""
        if len(self._received) < _MOST:
            self._received.append(notice)
        else:
            self._forged += 1
        self._wake.set()

    async def run(self) -> None:
        """Answer messages until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._received:
                await self._answer_to(self._received.popleft())
            try:
                await self._count_forged()
            except BrokerError as error:
                logger.debug("%d forged control messages could not be counted: %s", self._forged, error)

    async def _answer_to(self, notice: Notice) -> None:
        try:
            ask = self._control.open_ask(notice.outcome or b"")
        except SealError as error:
            self._report_error(error)
            self._forged += 1
            return
        try:
            answer = await (self._show(ask) if ask.verb == STACKS else self._do(ask))
            if answer is not None:
                await self._broker.publish(ask.reply, Notice(self._host, answer))
        except BrokerError as error:
            logger.warning("A request of an operator could not be answered: %s", error)

    async def _show(self, ask: Ask) -> bytes | None:
        if ask.id in self._answered:
            return None
        self._answered.append(ask.id)
        processes, note = await self._snapshot()
        return self._control.answer(ask.id, self._host, processes, note)

    async def _do(self, ask: Ask) -> bytes | None:
        """The answer to a request that changes something; None: nothing was done, and no answer is expected."""
        if ask.host != self._host:
            self._report_error(SealError(f'It is for host "{ask.host}".'))
            return None
        now = (await inspect(self._broker).facts()).time
        self._heard = {id: at for id, at in self._heard.items() if abs(now - at) <= FRESH}
        if abs(now - ask.at) > FRESH:
            self._report_error(SealError(f"It was made {now - ask.at:.0f} s ago: {ask.verb} by {ask.by}."))
            return None
        if ask.id in self._heard:
            return None
        self._heard[ask.id] = ask.at
        return self._control.obeyed(ask, self._host, await self._obey(ask))

    async def _count_forged(self) -> None:
        """Add forged messages to the count of everything that was no message of this app."""
        while self._forged:
            count = min(self._forged, BATCH_JOBS)
            misfit = Delivery("", "", "", b"", Meta())
            await self._broker.reject("", [(misfit, "a control message without a valid seal")] * count)
            self._forged -= count
