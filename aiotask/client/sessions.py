"""The sessions of an app: one per event loop, one for code without a loop, and their jobs at a program's end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..brokers import features, push_blocking, push_graph_blocking
from ..brokers.technology import GRAPHS
from ..context import sending_job
from ..functions.loading import warn_of_send
from ..job import RESULT_TTL, ids
from ..loops.exits import exits
from ..loops.portal import asyncio_loop, portal, running_loop
from ..results.result import AsyncResult
from ..wire.seal import Sealer
from .batches import HIGH_WATER
from .handed_over import is_graph
from .limits import note_child
from .rescue import ASK_EVERY, TICK, answers, drained
from .send_buffer import SendBuffer
from .session import FLUSH_TIMEOUT, Session

if TYPE_CHECKING:
    from ..broker import Overflow, Push
    from ..context import JobContext
    from ..values.limit import LimitSpec
    from ..wire.serializer import Serializer
    from .backpressure import Backpressure
    from .staging import GraphPush

__all__ = ["Sessions"]

logger = logging.getLogger("aiotask.client")

#: Bytes of a sealed job above which a warning is logged, once per task.
LARGE = 1_000_000
#: Seconds for which each send of a thread that sends faster than the broker accepts is blocked, at most.
ACCEPT_TIMEOUT = 5.0


class Sessions:
    """How an app sends; safe to use from many loops, threads, signal handlers and finalizers, and after a fork."""

    def __init__(
        self,
        app: str,
        url: str,
        secrets: Sequence[str],
        serializer: Serializer,
        *,
        result_ttl: float = RESULT_TTL,
        backpressure: Backpressure | None = None,
    ) -> None:
        self.app = app
        self.result_ttl = result_ttl
        self.backpressure = backpressure
        self.url = url
        self.serializer = serializer
        self.secrets = tuple(secrets)
        self.outcomes_sealer = Sealer(secrets, "outcome")
        self.jobs_sealer = Sealer(secrets, "job")
        #: Sessions by loop; None: the session of interpreter exit. Changed without a lock, by steps that cannot be
        #: interrupted: a signal handler or a finalizer may send at any moment.
        self._sessions: dict[asyncio.AbstractEventLoop | None, Session] = {}
        #: Send buffers of loops that ended without closing them.
        self._orphans: list[SendBuffer] = []
        #: Every send buffer that still exists, those of ended sessions among them.
        self._send_buffers: weakref.WeakSet[SendBuffer] = weakref.WeakSet()
        #: Names of tasks for which a large call was logged.
        self._warned_large: set[str] = set()
        #: Send buffers of other loops whose sending the portal watches.
        self._watched: set[SendBuffer] = set()
        self._last: tuple[asyncio.AbstractEventLoop | None, Session | None] = (None, None)
        _all.add(self)
        exits.watch_multiprocessing()
        self._push = push_blocking(url)
        self._push_graph = push_graph_blocking(url)
        self._has_graphs = GRAPHS in features(url)
        # Sessions outlive this client until they are closed in their loops.
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

    @property
    def is_sending(self) -> bool:
        """Whether jobs of this process are on their way to the broker."""
        return any(send_buffer.is_sending for send_buffer in list(self._send_buffers))

    def _make_session(self, loop: asyncio.AbstractEventLoop | None) -> Session:
        exits.look_at_parent()
        address = f"{ids.client}.{next(_numbers):x}"
        made = Session(self, address, loop, in_portal=loop is None or portal.runs(loop))
        # Another thread, or a send in the middle of this one, may have been faster.
        session = self._sessions.setdefault(loop, made)
        self._send_buffers.add(session.send_buffer)
        return session

    @staticmethod
    def _portals_loop() -> asyncio.AbstractEventLoop | None:
        """The loop of the portal; None at interpreter exit, when jobs are sent without a loop."""
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
                if not session.send_buffer.empty:
                    self._orphans.append(session.send_buffer)
        self._last = (None, None)

    def _loop_of(self, send_buffer: SendBuffer) -> asyncio.AbstractEventLoop | None:
        return next(
            (loop for loop, session in self._sessions.copy().items() if session.send_buffer is send_buffer), None
        )

    async def leave(self, session: Session) -> None:
        """Close a session in the running loop, which ends or in which the app is closed."""
        for loop, other in self._sessions.copy().items():
            if other is session:
                self._sessions.pop(loop, None)
        self._last = (None, None)
        await session.close()
        if not session.send_buffer.empty:
            self._orphans.append(session.send_buffer)

    # ---- sending

    def submit(self, session: Session, push: Push, result: AsyncResult[Any]) -> None:
        """Hand a job over; it is sent together with the others of this tick of the loop."""
        send_buffer = result.send_buffer = session.send_buffer
        if len(push.sealed) > LARGE:
            self._warn_large(result.task, len(push.sealed))
        if not session.in_portal:
            session.mailbox.expect(result)
            result.ticket = send_buffer.put(push)
            if session._flushing is None or send_buffer.waiting_for_room:
                session.flush_soon()
            return
        session.mailbox.expect(result)
        result.ticket = send_buffer.put(push)
        if exits.ended:
            self._send_now(send_buffer)
            return
        if self._orphans:
            self._adopt_orphans()
        try:
            session.flush_from_a_thread()
        except RuntimeError:
            # The portal has ended just now.
            self._send_now(send_buffer)
            return
        if exits.may_be_terminated and running_loop() is None:
            portal.submit(_accepted_in_time(send_buffer, result.ticket)).exception()
        elif send_buffer.crowded and running_loop() is None:
            portal.submit(_accepted_in_time(send_buffer, result.ticket - HIGH_WATER // 2)).exception()

    def submit_graph(
        self, session: Session, push: GraphPush, result: AsyncResult[Any], handles: Sequence[AsyncResult[Any]]
    ) -> None:
        """Hand a graph over, as ``submit`` does with a job; ``handles`` are those on jobs of it."""
        for handle in handles:
            handle.send_buffer = session.send_buffer
            session.mailbox.expect(handle)
        self.submit(session, push, result)
        for handle in handles:
            handle.ticket = result.ticket

    def list_child(self, session: Session, parent: JobContext, id: str) -> None:
        """Have a job listed among those that this job has sent; call it before the job is handed over."""
        if parent.job.result_ttl > 0 and self._has_graphs:
            session.kids.append((parent.id, id, parent.job.result_ttl))

    def meet_limit(self, session: Session, spec: LimitSpec, id: str, limit: str) -> None:
        """A job of this limit and key is sent; call it before the job is handed over."""
        session.limits.add(spec)
        if (parent := sending_job()) is not None:
            note_child(parent, id, spec, limit)

    def _warn_large(self, task: str, size: int) -> None:
        if task not in self._warned_large:
            self._warned_large.add(task)
            logger.warning(
                'A call of task "%s" takes %.1f MB. Large jobs slow down the server for all its clients, and it keeps '
                "each in memory until the job has ended: send a path, a key or an ID of the data instead.",
                task,
                size / 1e6,
            )

    def _adopt_orphans(self) -> list[SendBuffer]:
        orphans, self._orphans = self._orphans, []
        for send_buffer in orphans:
            self._relieve(send_buffer)
        return orphans

    async def flush(self) -> None:
        """Return once every job handed over so far, in any loop, is accepted or refused."""
        asyncio_loop()
        session = self.session()
        await session.drain()
        self._close_dead_loops()
        others = [other.send_buffer for other in self._sessions.copy().values() if other is not session]
        for send_buffer in [*self._adopt_orphans(), *self._watched, *others]:
            await self._emptied(send_buffer)

    def _relieve(self, send_buffer: SendBuffer) -> None:
        """Have this send buffer emptied, by the portal if its own loop does not do so."""
        if (
            send_buffer.is_copy
            or send_buffer.empty
            or send_buffer in self._watched
            or portal.runs(self._loop_of(send_buffer))
        ):
            return
        if self._portals_loop() is None:
            self._send_now(send_buffer)
            return
        self._watched.add(send_buffer)
        portal.submit(self._empty(send_buffer))

    async def _empty(self, send_buffer: SendBuffer) -> None:
        try:
            while not send_buffer.empty:
                loop = self._loop_of(send_buffer)
                if loop is not None and await answers(loop):
                    await asyncio.sleep(ASK_EVERY)
                else:
                    await send_buffer.flush(self.session().broker)
        finally:
            self._watched.discard(send_buffer)

    async def _emptied(self, send_buffer: SendBuffer) -> None:
        self._relieve(send_buffer)
        await drained(send_buffer)

    async def hand_on(self, result: AsyncResult[Any]) -> None:
        """Return once a job that was handed over in another loop has been accepted or refused, or waits for room."""
        if result.send_buffer is None:
            # The job may have been handed over in a loop that does not run any more.
            self._close_dead_loops()
            stopped = [
                other.send_buffer
                for loop, other in self._sessions.copy().items()
                if loop is not None and not loop.is_running() and not portal.runs(loop)
            ]
            for send_buffer in [*self._adopt_orphans(), *stopped]:
                await self._emptied(send_buffer)
            return
        send_buffer = result.send_buffer
        if send_buffer is not self.session().send_buffer and not send_buffer.is_settled(result.ticket):
            self._relieve(send_buffer)
            while not send_buffer.is_settled(result.ticket) and result.ticket not in send_buffer.waiting_for_room:  # noqa: ASYNC110 - any loop
                await asyncio.sleep(TICK)

    def relieve_for(self, result: AsyncResult[Any]) -> None:
        """Have a job sent that was handed over in another loop."""
        if result.send_buffer is None:
            self._close_dead_loops()
            for loop, other in self._sessions.copy().items():
                if loop is not None and not loop.is_running():
                    self._relieve(other.send_buffer)
        elif not result.send_buffer.is_settled(result.ticket):
            self._relieve(result.send_buffer)
        if self._orphans:
            self._adopt_orphans()

    # ---- the end

    async def close(self) -> None:
        """Send the jobs that are left in the running loop, and close its session."""
        await self.leave(self.session())

    def flush_at_exit(self) -> None:
        """At interpreter exit: send the jobs that are left, blocking, since no thread can start any more."""
        send_buffers = [*self._orphans, *self._watched, *(each.send_buffer for each in self._sessions.copy().values())]
        for loop, session in self._sessions.copy().items():
            if loop is None or not loop.is_running():
                session.broker.abandon()
        self._orphans = []
        self._sessions.clear()
        self._last = (None, None)
        for send_buffer in send_buffers:
            self._send_now(send_buffer)
        # Made now for finalizers of globals that send, which run when no module can be imported any more.
        self._make_session(None)

    def _send_now(self, send_buffer: SendBuffer) -> None:
        send_buffer.flush_blocking(self._push_blocking)

    def _push_blocking(self, send_buffer: SendBuffer, batch: list[Push]) -> Overflow | None:
        if is_graph(first := batch[0]):
            return self._push_graph_blocking(send_buffer, first)
        return self._push(
            self.url, self.app, send_buffer.client, send_buffer.sequence, batch, send_buffer.room, send_buffer.drop
        )

    def _push_graph_blocking(self, send_buffer: SendBuffer, graph: GraphPush) -> Overflow | None:
        assert self._push_graph is not None
        push = partial(self._push_graph, self.url, self.app, send_buffer.client)
        return graph.send_blocking(push, send_buffer.sequence, send_buffer.room)

    def forget(self) -> None:
        """In a forked child: let go of sockets, send buffers and sessions, which are the parent's."""
        for session in self._sessions.values():
            session.broker.abandon()
        for send_buffer in list(self._send_buffers):
            send_buffer.is_copy = True
        self._sessions.clear()
        self._watched.clear()
        self._orphans, self._last = [], (None, None)


def _let_go(sessions: dict[asyncio.AbstractEventLoop | None, Session]) -> None:
    """Close the sessions of a client that was deleted, in those of their loops that still run."""
    for loop, session in sessions.items():
        if loop is not None and loop.is_running():
            asyncio.run_coroutine_threadsafe(session.close(), loop)
        else:
            session.broker.abandon()


async def _accepted_in_time(send_buffer: SendBuffer, ticket: int) -> None:
    # With a timeout: the thread may hold what the portal needs to go on, such as the lock of a logging handler.
    await asyncio.wait_for(send_buffer.accepted(ticket), ACCEPT_TIMEOUT)


_all: weakref.WeakSet[Sessions] = weakref.WeakSet()
#: Numbers of the sessions of all clients: the broker takes equal addresses for one sender, and several apps of one
#: name in a process are several senders.
_numbers = itertools.count(1)


def _at_exit() -> None:
    portal.stop(FLUSH_TIMEOUT)
    for sessions in list(_all):
        sessions.flush_at_exit()


def _after_fork() -> None:
    for sessions in list(_all):
        sessions.forget()


exits.set(_at_exit, _after_fork)
