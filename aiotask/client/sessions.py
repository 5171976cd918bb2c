"""The sessions of an app: one per event loop, one for code without a loop, and their jobs at a program's end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..brokers import push_blocking
from ..functions.loading import warn_of_send
from ..job import ids
from ..loops.exits import exits
from ..loops.portal import asyncio_loop, portal, running_loop
from ..result import AsyncResult
from ..wire.seal import Sealer
from .rescue import ASK_EVERY, TICK, answers, drained
from .send_buffer import HIGH_WATER, Outbox
from .session import FAREWELL, Session

if TYPE_CHECKING:
    from ..broker import Overflow, Push
    from ..wire.serializer import Serializer
    from .backpressure import Backpressure

__all__ = ["Sessions"]

logger = logging.getLogger("aiotask.client")

#: Bytes of a sealed job above which a warning is logged, once per task.
LARGE = 1_000_000
#: Seconds for which a thread that sends faster than the broker accepts is held up at each send, at most.
HELD_UP = 5.0


class Sessions:
    """How an app sends; safe to use from many loops, threads, signal handlers and finalizers, and after a fork."""

    def __init__(
        self,
        app: str,
        url: str,
        secrets: Sequence[str],
        serializer: Serializer,
        *,
        result_ttl: float = 3600.0,
        backpressure: Backpressure | None = None,
    ) -> None:
        self.app = app
        self.result_ttl = result_ttl
        self.backpressure = backpressure
        self.url = url
        self.serializer = serializer
        self.outcomes_sealer = Sealer(secrets, "outcome")
        #: By loop; None: the one of the program's end. Changed without a lock, by steps that cannot be interrupted: a
        #: signal handler or a finalizer may send at any moment.
        self._sessions: dict[asyncio.AbstractEventLoop | None, Session] = {}
        #: Outboxes of loops that ended without closing them.
        self._orphans: list[Outbox] = []
        #: Every outbox that there is, of sessions that have ended too.
        self._outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
        #: Tasks of which a large call was logged.
        self._large: set[str] = set()
        #: Outboxes of other loops whose sending the portal watches.
        self._watched: set[Outbox] = set()
        self._last: tuple[asyncio.AbstractEventLoop | None, Session | None] = (None, None)
        _all.add(self)
        exits.watch_multiprocessing()
        self._push = push_blocking(url)
        # Sessions belong to their loops as much as to this client: they outlive it until they are closed there.
        weakref.finalize(self, _let_go, self._sessions).atexit = False

    # ---- sessions

    def session(self) -> Session:
        """The session of the running loop, or the portal's where none runs."""
        loop = asyncio._get_running_loop()
        last, session = self._last
        if loop is last and session is not None:
            return session
        warn_of_send()
        if loop is None:
            loop = self._portals_loop()
        session = self._sessions.get(loop)
        if session is None:
            self._close_dead_loops()
            session = self._make_session(loop)
        if loop is not None and loop is asyncio._get_running_loop():
            self._last = (loop, session)
        return session

    def _make_session(self, loop: asyncio.AbstractEventLoop | None) -> Session:
        address = f"{ids.client}.{next(_numbers):x}"
        made = Session(self, address, loop, in_portal=loop is None or portal.runs(loop))
        # Another thread, or a send in the middle of this one, may have been faster.
        session = self._sessions.setdefault(loop, made)
        self._outboxes.add(session.outbox)
        return session

    @staticmethod
    def _portals_loop() -> asyncio.AbstractEventLoop | None:
        """None: the program ends, and jobs go out without a loop."""
        if not exits.ended:
            try:
                return portal.loop()
            except RuntimeError:
                # No thread can start any more.
                exits.ended = True
        return None

    def _close_dead_loops(self) -> None:
        for loop in list(self._sessions):
            if loop is not None and loop.is_closed() and (session := self._sessions.pop(loop, None)) is not None:
                session.broker.abandon()
                if not session.outbox.empty:
                    self._orphans.append(session.outbox)
        self._last = (None, None)

    def _loop_of(self, outbox: Outbox) -> asyncio.AbstractEventLoop | None:
        return next((loop for loop, session in self._sessions.copy().items() if session.outbox is outbox), None)

    async def leave(self, session: Session) -> None:
        """The running loop ends, or the app is closed in it."""
        for loop, other in self._sessions.copy().items():
            if other is session:
                self._sessions.pop(loop, None)
        self._last = (None, None)
        await session.close()
        if not session.outbox.empty:
            self._orphans.append(session.outbox)

    # ---- sending

    def submit(self, session: Session, push: Push, result: AsyncResult[Any]) -> None:
        """Hand a job over; it goes out with the others of this tick."""
        outbox = result.outbox = session.outbox
        if len(push.sealed) > LARGE:
            self._say_large(result.task, len(push.sealed))
        if not session.in_portal:
            session.mailbox.expect(result)
            result.ticket = outbox.put(push)
            if session._flushing is None or outbox.held:
                session.flush_soon()
            return
        session.mailbox.expect(result)
        result.ticket = outbox.put(push)
        if exits.ended:
            self._send_now(outbox)
            return
        if self._orphans:
            self._adopt_orphans()
        try:
            session.flush_from_a_thread()
        except RuntimeError:
            # The portal has ended just now.
            self._send_now(outbox)
            return
        if outbox.crowded and running_loop() is None:
            portal.submit(_held_up(outbox, result.ticket - HIGH_WATER // 2)).exception()

    def _say_large(self, task: str, size: int) -> None:
        if task not in self._large:
            self._large.add(task)
            logger.warning(
                'A call of task "%s" takes %.1f MB. Large jobs slow down the server for all its clients, and it keeps '
                "each in memory until the job has ended: send a path, a key or an ID of the data instead.",
                task,
                size / 1e6,
            )

    def _adopt_orphans(self) -> list[Outbox]:
        orphans, self._orphans = self._orphans, []
        for outbox in orphans:
            self._relieve(outbox)
        return orphans

    async def flush(self) -> None:
        """Everything handed over so far, in any loop, is accepted or refused."""
        asyncio_loop()
        session = self.session()
        await session.drain()
        self._close_dead_loops()
        others = [other.outbox for other in self._sessions.copy().values() if other is not session]
        for outbox in [*self._adopt_orphans(), *self._watched, *others]:
            await self._emptied(outbox)

    def _relieve(self, outbox: Outbox) -> None:
        """See to it that this outbox is emptied, by the portal where its own loop does not do so."""
        if outbox.is_copy or outbox.empty or outbox in self._watched or portal.runs(self._loop_of(outbox)):
            return
        if self._portals_loop() is None:
            self._send_now(outbox)
            return
        self._watched.add(outbox)
        portal.submit(self._empty(outbox))

    async def _empty(self, outbox: Outbox) -> None:
        try:
            while not outbox.empty:
                loop = self._loop_of(outbox)
                if loop is not None and await answers(loop):
                    await asyncio.sleep(ASK_EVERY)
                else:
                    await outbox.flush(self.session().broker)
        finally:
            self._watched.discard(outbox)

    async def _emptied(self, outbox: Outbox) -> None:
        self._relieve(outbox)
        await drained(outbox)

    async def hand_on(self, result: AsyncResult[Any]) -> None:
        """Return once a job that was handed over in another loop is with the broker, or waits for room."""
        if result.outbox is None:
            # It may be of a loop that stands still.
            self._close_dead_loops()
            standing = [
                other.outbox
                for loop, other in self._sessions.copy().items()
                if loop is not None and not loop.is_running() and not portal.runs(loop)
            ]
            for outbox in [*self._adopt_orphans(), *standing]:
                await self._emptied(outbox)
            return
        outbox = result.outbox
        if outbox is not self.session().outbox and not outbox.is_settled(result.ticket):
            self._relieve(outbox)
            while not outbox.is_settled(result.ticket) and result.ticket not in outbox.held:  # noqa: ASYNC110 - any loop
                await asyncio.sleep(TICK)

    def relieve_for(self, result: AsyncResult[Any]) -> None:
        """See to it that a job goes out that another loop was to send."""
        if result.outbox is None:
            self._close_dead_loops()
            for loop, other in self._sessions.copy().items():
                if loop is not None and not loop.is_running():
                    self._relieve(other.outbox)
        elif not result.outbox.is_settled(result.ticket):
            self._relieve(result.outbox)
        if self._orphans:
            self._adopt_orphans()

    # ---- the end

    async def close(self) -> None:
        """Send what is left in the running loop and hang up there."""
        await self.leave(self.session())

    def last_words(self) -> None:
        """At interpreter exit: send what is left with a blocking connection (no thread can start any more)."""
        outboxes = [*self._orphans, *self._watched, *(each.outbox for each in self._sessions.copy().values())]
        for loop, session in self._sessions.copy().items():
            if loop is None or not loop.is_running():
                session.broker.abandon()
        self._orphans = []
        self._sessions.clear()
        self._last = (None, None)
        for outbox in outboxes:
            self._send_now(outbox)
        # For finalizers of globals, when no module can be imported any more.
        self._make_session(None)

    def _send_now(self, outbox: Outbox) -> None:
        outbox.flush_blocking(self._push_blocking)

    def _push_blocking(self, outbox: Outbox, batch: list[Push]) -> Overflow | None:
        return self._push(self.url, self.app, outbox.client, outbox.sequence, batch, outbox.room, outbox.drop)

    def forget(self) -> None:
        """In a forked child: sockets, outboxes and sessions stay the parent's."""
        for session in self._sessions.values():
            session.broker.abandon()
        for outbox in list(self._outboxes):
            outbox.is_copy = True
        self._sessions.clear()
        self._watched.clear()
        self._orphans, self._last = [], (None, None)


def _let_go(sessions: dict[asyncio.AbstractEventLoop | None, Session]) -> None:
    """Their client is gone: close them in the loops that still run."""
    for loop, session in sessions.items():
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(session.close(), loop)
        else:
            session.broker.abandon()


async def _held_up(outbox: Outbox, ticket: int) -> None:
    # Not for ever: the thread may hold what the portal needs to go on, such as the lock of a logging handler.
    await asyncio.wait_for(outbox.accepted(ticket), HELD_UP)


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
#: Numbers of sessions. Those of all clients together: the broker takes an address that it knows for the same
#: sender, and several apps of one name in a process are several senders.
_numbers = itertools.count(1)


def _at_exit() -> None:
    portal.stop(FAREWELL)
    for sessions in list(_all):
        sessions.last_words()


def _after_fork() -> None:
    for sessions in list(_all):
        sessions.forget()


exits.set(_at_exit, _after_fork)
