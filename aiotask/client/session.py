"""One app in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

from ..brokers import connect
from ..errors import BrokerError
from ..loops.agent import agent
from ..wire.seal import Sealer
from .absence import Absence
from .backpressure import Backpressure
from .mailbox import Mailbox, quietly
from .send_buffer import Outbox

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["FAREWELL", "Session"]

logger = logging.getLogger("aiotask.client")

#: Seconds that a closing loop, and the interpreter at exit, spend on what is not sent yet.
FAREWELL = 5.0


class Owner(Protocol):
    """What a session needs of its client."""

    url: str
    app: str
    outcomes_sealer: Sealer
    backpressure: Backpressure | None

    async def leave(self, session: Session) -> None:
        """The loop of this session ends."""
        ...


class Session:
    """A broker, an outbox and a mailbox for one event loop, which also ends them."""

    def __init__(
        self, owner: Owner, address: str, loop: asyncio.AbstractEventLoop | None, *, in_portal: bool = False
    ) -> None:
        self.address = address
        #: None: the program ends, and jobs go out without a loop.
        self._loop = loop
        #: Other threads hand over here.
        self.in_portal = in_portal
        self._called = False
        self.broker: Broker = connect(owner.url, owner.app)
        self.mailbox = Mailbox(self.broker, address, owner.outcomes_sealer)
        self.absence = Absence(owner.app, self.broker, self.mailbox)
        self.outbox = Outbox(address, self._refused, owner.backpressure)
        # Weakly: a session belongs to its loop as much as to the client, and outlives it until it is closed.
        self._owner = weakref.ref(owner)
        self._flushing: asyncio.Task[None] | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    def flush_soon(self) -> None:
        """Send what was handed over in this tick of the loop; call it in the session's loop."""
        if self._flushing is None:
            self._flushing = quietly(agent(self._flush()))
            self._flushing.add_done_callback(self._flushed)
        else:
            self.outbox.hold.stir()

    def flush_from_a_thread(self) -> None:
        """The same for the portal's session, after something was handed over; wakes its loop where that does not look
        by itself."""
        if self._loop is not None and not self._called and (self._flushing is None or self.outbox.held):
            self._called = True
            self._loop.call_soon_threadsafe(self._flush_called)

    def _flush_called(self) -> None:
        # First: what is handed over from here on calls again.
        self._called = False
        self.flush_soon()

    def _refused(self, ids: list[str], error: Exception) -> bool:
        """Tell the callers that wait here; whether there is one. The sender may be another loop, or none."""
        if self._loop is None or self._loop is asyncio._get_running_loop():
            return self.mailbox.fail(ids, error)
        awaited = self.mailbox.awaits(ids)
        if awaited and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.mailbox.fail, ids, error)
        return awaited

    async def _flush(self) -> None:
        if self._closer is None:
            await self._arm()
        await self.outbox.flush(self.broker)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Sending failed: %s", error, exc_info=error)
            refused = BrokerError(f"Sending failed: {type(error).__name__}: {error}")
            refused.__cause__ = error
            self.outbox.refuse_all(refused)
        if not task.cancelled() and not self.outbox.empty:
            # Handed over between the last look into the outbox and this callback.
            self.flush_soon()

    async def _arm(self) -> None:
        """Be told when the loop ends: asyncio.run closes asynchronous generators, after it has cancelled all tasks."""
        self._closer = self._until_the_loop_ends()
        await anext(self._closer)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            owner = self._owner()
            await (self.close() if owner is None else owner.leave(self))

    async def drain(self, *, held: bool = True) -> None:
        """Return once everything handed over so far is accepted or refused; ``held=False``: or waits for room."""
        outbox = self.outbox
        goal = outbox.handed
        while outbox.settled_count < goal:
            await self._flush_more()
        waiting = set(outbox.held) if held else set()
        while not waiting.isdisjoint(outbox.held):
            await self._flush_more()

    async def _flush_more(self) -> None:
        self.flush_soon()
        assert self._flushing is not None
        # Flushing does not end while something waits for room.
        await asyncio.wait((self._flushing,), timeout=None if self.outbox.room is None else 0.05)

    async def close(self) -> None:
        """Send what is left, within FAREWELL seconds, and hang up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if self._flushing is not None and not self._flushing.done():
                    await asyncio.wait((self._flushing,))
                await self.outbox.flush(self.broker)
        self.mailbox.close()
        await self.broker.close()
