"""The sending side of one app in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Protocol

from ..broker import BATCH_JOBS
from ..brokers import connect, graphs_of
from ..errors import AiotaskError, BrokerError
from ..loops.agent import agent
from ..wire.seal import Sealer
from .absence import Absence
from .backpressure import Backpressure
from .limits import LimitsToDeclare
from .mailbox import Mailbox, quietly
from .send_buffer import SendBuffer

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["FLUSH_TIMEOUT", "Session"]

logger = logging.getLogger("aiotask.client")

#: Seconds that a closing loop, and the interpreter at exit, spend on sending the jobs that are left.
FLUSH_TIMEOUT = 5.0
#: Seconds that a closing session gives its readers' goodbyes.
GOODBYE_TIMEOUT = 1.0


class Owner(Protocol):
    """The client of a session, as far as the session needs it."""

    url: str
    app: str
    outcomes_sealer: Sealer
    backpressure: Backpressure | None

    async def leave(self, session: Session) -> None:
        """Close a session whose loop ends."""
        ...


class Session:
    """A broker, a send buffer and a mailbox for one event loop; they are closed with the loop."""

    def __init__(
        self, owner: Owner, address: str, loop: asyncio.AbstractEventLoop | None, *, in_portal: bool = False
    ) -> None:
        self.address = address
        #: None at interpreter exit, when jobs are sent without a loop.
        self._loop = loop
        #: The loop is the portal's: threads without a loop hand their jobs over here.
        self.in_portal = in_portal
        self._called = False
        self.broker: Broker = connect(owner.url, owner.app)
        self.mailbox = Mailbox(self.broker, address, owner.outcomes_sealer)
        self.absence = Absence(owner.app, self.broker, self.mailbox)
        self.send_buffer = SendBuffer(address, self._refused, owner.backpressure, self._known)
        # Weakly: a session belongs to its loop as much as to the client, and outlives it until it is closed.
        self._owner = weakref.ref(owner)
        #: Jobs that jobs of this process have sent: ids of parent and child, and seconds that the list is kept.
        self.kids: deque[tuple[str, str, float]] = deque()
        #: Limits of the jobs that are sent here, which the broker has to know.
        self.limits = LimitsToDeclare(owner.app)
        #: What readers of streams that stop early still have to tell the broker.
        self.goodbyes: set[asyncio.Task[None]] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    def flush_soon(self) -> None:
        """Send what was handed over in this tick of the loop; call it in the session's loop."""
        if self._flushing is None:
            self._flushing = quietly(agent(self._flush()))
            self._flushing.add_done_callback(self._flushed)
        else:
            self.send_buffer.room_retry.interrupt()

    def flush_from_a_thread(self) -> None:
        """Send what another thread has handed over to the portal's session; wakes the portal's loop only where no flush
        is under way that would pick it up."""
        if (
            self._loop is not None
            and not self._called
            and (self._flushing is None or self.send_buffer.waiting_for_room)
        ):
            self._called = True
            self._loop.call_soon_threadsafe(self._flush_called)

    def _flush_called(self) -> None:
        # Cleared first: a job that is handed over from here on schedules another call.
        self._called = False
        self.flush_soon()

    def _refused(self, ids: list[str], error: Exception) -> bool:
        """Fail the callers that wait in this session; return whether there is one. The sender may run in any loop."""
        if self._loop is None or self._loop is asyncio._get_running_loop():
            return self.mailbox.fail(ids, error)
        awaited = self.mailbox.awaits(ids)
        if awaited and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.mailbox.fail, ids, error)
        return awaited

    def _known(self, known: Mapping[str, str]) -> None:
        """Have handles follow jobs that are others to these. The sender may run in any loop."""
        if self._loop is None or self._loop is asyncio._get_running_loop():
            for id, other in known.items():
                self.mailbox.follow(id, other)
        elif not self._loop.is_closed():
            for id, other in known.items():
                self._loop.call_soon_threadsafe(self.mailbox.follow, id, other)

    async def _flush(self) -> None:
        if self._closer is None:
            await self._arm()
        # Jobs of a limit that the broker refuses are refused, and no others.
        self.send_buffer.barred = await self.limits.declare(self.broker) if self.limits.waiting else {}
        await self.send_buffer.flush(self.broker)
        if self.limits.waiting:
            # Those of jobs that were handed over during the flush, and are sent.
            for name, error in (await self.limits.declare(self.broker)).items():
                logger.error('Jobs of the limit "%s" wait until a worker declares it: %s', name, error)
        if self.kids:
            await self._list_kids()

    async def _list_kids(self) -> None:
        """Have the broker list the children of jobs. Without the list nothing is lost but ``children()``."""
        lists: dict[tuple[str, float], list[str]] = {}
        while self.kids:
            parent, child, ttl = self.kids.popleft()
            lists.setdefault((parent, ttl), []).append(child)
        try:
            for (parent, ttl), ids in lists.items():
                for at in range(0, len(ids), BATCH_JOBS):
                    await graphs_of(self.broker).add_children(parent, ids[at : at + BATCH_JOBS], ttl)
        except AiotaskError as error:
            logger.warning("The children of %d jobs were not listed: %s", len(lists), error)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Sending failed: %s", error, exc_info=error)
            refused = BrokerError(f"Sending failed: {type(error).__name__}: {error}")
            refused.__cause__ = error
            self.send_buffer.refuse_all(refused)
        if not task.cancelled() and not self.send_buffer.empty:
            # A job was handed over between the end of the flush and this callback.
            self.flush_soon()

    async def _arm(self) -> None:
        """Close the session with its loop: asyncio.run closes asynchronous generators after it has cancelled tasks."""
        self._closer = self._until_the_loop_ends()
        await anext(self._closer)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            owner = self._owner()
            await (self.close() if owner is None else owner.leave(self))

    async def drain(self, *, for_room: bool = True) -> None:
        """Return once every job handed over so far is accepted or refused, or (``for_room=False``) waits for room."""
        send_buffer = self.send_buffer
        goal = send_buffer.handed
        while send_buffer.settled_count < goal:
            await self._flush_more()
        waiting = set(send_buffer.waiting_for_room) if for_room else set()
        while not waiting.isdisjoint(send_buffer.waiting_for_room):
            await self._flush_more()

    async def _flush_more(self) -> None:
        self.flush_soon()
        assert self._flushing is not None
        # A flush does not end while a job waits for room.
        await asyncio.wait((self._flushing,), timeout=None if self.send_buffer.room is None else 0.05)

    async def close(self) -> None:
        """Send the jobs that are left, within FLUSH_TIMEOUT seconds, and close the connections."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                if self._flushing is not None and not self._flushing.done():
                    await asyncio.wait((self._flushing,))
                await self.send_buffer.flush(self.broker)
        if self.goodbyes:
            await self._end_goodbyes()
        self.mailbox.close()
        await self.broker.close()

    async def _end_goodbyes(self) -> None:
        """A goodbye that went on after the connections were closed would open one that nothing closes."""
        goodbyes = list(self.goodbyes)
        await asyncio.wait(goodbyes, timeout=GOODBYE_TIMEOUT)
        for goodbye in goodbyes:
            goodbye.cancel()
        await asyncio.gather(*goodbyes, return_exceptions=True)
