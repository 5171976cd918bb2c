"""The sending side of an app: a session per event loop, a portal for code without one, and what happens at the end."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .brokers.shown import hide_password
from .context import current_job, unseated
from .errors import AiotaskError, BrokerError, ConnectionLost, JobCancelled, ResultExpired, ResultTimeout, about
from .job import FINAL, WIRE_VERSION, Status, ids
from .mailbox import Arrival, Mailbox, refused_job
from .outbox import HIGH_WATER, Outbox
from .outcome import ErrorInfo, Outcome, decode_outcome, encode_outcome
from .portal import portal
from .result import AsyncResult, reveal
from .seal import Sealer
from .session import FAREWELL, Session

if TYPE_CHECKING:
    from .backpressure import Backpressure
    from .broker import Cancelled, Look, Push
    from .serializer import Serializer

__all__ = ["Client"]

T = TypeVar("T")

logger = logging.getLogger("aiotask.client")

#: Seconds for an answer about one job, with the sending of what is left before.
PATIENCE = 4.8


class Client:
    """How an app sends and waits; safe to use from many loops and threads, and after a fork."""

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
        self._sessions: dict[asyncio.AbstractEventLoop, Session] = {}
        #: Outboxes of loops that ended without closing them.
        self._orphans: list[Outbox] = []
        self._lock = threading.Lock()
        self._last: tuple[asyncio.AbstractEventLoop | None, Session | None] = (None, None)
        _clients.add(self)
        # Sessions belong to their loops as much as to this client: they outlive it until they are closed there.
        weakref.finalize(self, _let_go, self._sessions).atexit = False

    # ---- sessions

    def session(self) -> Session:
        """The session of the running loop, or the portal's where none runs."""
        loop = asyncio._get_running_loop()
        last, session = self._last
        if loop is last and session is not None:
            return session
        loop = loop or portal.loop()
        with self._lock:
            session = self._sessions.get(loop)
            if session is None:
                self._bury_dead_loops()
                address = f"{ids.client}.{next(_numbers):x}"
                session = self._sessions[loop] = Session(self, address, loop if portal.runs(loop) else None)
        if loop is asyncio._get_running_loop():
            self._last = (loop, session)
        return session

    def _bury_dead_loops(self) -> None:
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            session = self._sessions.pop(loop)
            session.broker.abandon()
            if not session.outbox.empty:
                self._orphans.append(session.outbox)
        self._last = (None, None)

    async def leave(self, session: Session) -> None:
        """The running loop ends, or the app is closed in it."""
        with self._lock:
            for loop in [loop for loop, other in self._sessions.items() if other is session]:
                del self._sessions[loop]
            self._last = (None, None)
        await session.close()
        if not session.outbox.empty:
            self._orphans.append(session.outbox)

    # ---- sending

    def submit(self, session: Session, push: Push, result: AsyncResult[Any]) -> None:
        """Hand a job over; it goes out with the others of this tick."""
        outbox = result.outbox = session.outbox
        if not session.in_portal:
            session.mailbox.expect(result)
            result.ticket = outbox.put(push)
            if session._flushing is None or outbox.held:
                session.flush_soon()
            return
        with self._lock:
            session.mailbox.expect(result)
            result.ticket = outbox.put(push)
        if self._orphans:
            self._adopt_orphans()
        session.flush_from_a_thread()
        if outbox.crowded and asyncio._get_running_loop() is None:
            portal.submit(outbox.accepted(result.ticket - HIGH_WATER // 2)).exception()

    def _adopt_orphans(self) -> list[Future[None]]:
        orphans, self._orphans = self._orphans, []
        return [portal.submit(self._send_orphan(outbox)) for outbox in orphans]

    async def _send_orphan(self, outbox: Outbox) -> None:
        await outbox.flush(self.session().broker)

    async def flush(self) -> None:
        """Everything handed over so far, in any loop, is accepted or refused."""
        await self.session().drain()
        for sending in self._adopt_orphans():
            await asyncio.wrap_future(sending)
        for loop, other in list(self._sessions.items()):
            if loop is not asyncio.get_running_loop() and not other.outbox.empty and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(other.drain(), loop))

    async def accepted(self, result: AsyncResult[Any]) -> None:
        if result.outbox is None:
            return
        result_outbox: Outbox = result.outbox
        if result_outbox.is_settled(result.ticket):
            return await result_outbox.accepted(result.ticket)
        if result_outbox is self.session().outbox:
            self.session().flush_soon()
        # A job that waits for room in a queue may wait for its own worker.
        await unseated(result_outbox.accepted(result.ticket))

    # ---- waiting

    async def outcome(self, result: AsyncResult[Any], timeout: float | None) -> Outcome:
        """The outcome of one job.

        Raises:
            ResultTimeout: not within ``timeout`` seconds.
            AiotaskError: there will be none.
        """
        if result.ignored:
            raise ResultExpired(
                f'Task "{result.task}" ignores its results, so there is nothing to await. '
                "Await `result.sent()`, or remove ignore_result=True."
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiter = partial(_arrive, future)
        mailbox = self._wait_for(result, waiter)
        try:
            if timeout is None and current_job().seat is None:
                outcome = await future
            else:
                outcome = await unseated(future if timeout is None else _within(timeout, future, result))
        finally:
            if not future.done() or future.cancelled():
                mailbox.drop(result.id, waiter)
        result.arrived = outcome
        return outcome

    def _wait_for(self, result: AsyncResult[Any], waiter: Callable[[Arrival], None]) -> Mailbox:
        session = self.session()
        mailbox, outbox = session.mailbox, result.outbox
        refused = outbox.error_of(result.ticket) if outbox is not None else None
        if refused is not None:
            waiter(refused)
            return mailbox
        if session._flushing is None:
            if not session.outbox.empty or session._closer is None:
                session.flush_soon()
        elif session.outbox.held:
            session.flush_soon()
        mailbox.add(result, waiter, foreign=result.shared or outbox is not session.outbox)
        return mailbox

    async def outcomes(self, results: list[AsyncResult[Any]]) -> None:
        """Wait for many at once; returns when all are there or one ended badly."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(results)

        def arrive(result: AsyncResult[Any], arrival: Arrival) -> None:
            nonlocal left
            left -= 1
            if isinstance(arrival, Exception):
                if not future.done():
                    future.set_exception(arrival)
                return
            result.arrived = arrival
            if not future.done():
                if arrival.status is not Status.SUCCESS:
                    future.set_exception(_error_of(self, result))
                elif left == 0:
                    future.set_result(None)

        waiters = [(result, partial(arrive, result)) for result in results]
        mailbox = self.session().mailbox
        for result, waiter in waiters:
            self._wait_for(result, waiter)
        try:
            await unseated(future)
        finally:
            if left:
                for result, waiter in waiters:
                    mailbox.drop(result.id, waiter)

    def reveal(self, outcome: Outcome, function: Any) -> Any:
        return reveal(outcome, self.serializer, function)

    async def status(self, result: AsyncResult[Any]) -> Status:
        session, id = self.session(), result.id
        look = await self._in_time(self._look(session, result))
        if look is None:
            return Status.PENDING
        if look.outcome is not None:
            return decode_outcome(self.outcomes_sealer.open(look.outcome)).status
        if look.refused:
            raise refused_job(id, look.refused)
        if look.status is None:
            raise _unknown(result)
        return look.status

    async def _look(self, session: Session, result: AsyncResult[Any]) -> Look | None:
        """What the broker knows of a job; None: it waits for room in its queue."""
        await session.drain(held=False)
        if result.outbox is not None and result.ticket in result.outbox.held:
            return None
        (look,) = await session.broker.look([result.id])
        return look

    async def _in_time(self, answer: Coroutine[Any, Any, T]) -> T:
        """What it brings, or ConnectionLost where sending what is left and asking take too long together."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            raise ConnectionLost(
                f'No answer from the broker at "{hide_password(self.url)}" (silence for {PATIENCE:g} s). '
                "Is the server running, and is the URL right? `aiotask doctor` checks both."
            ) from None

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        return await self._in_time(self._cancel(result))

    async def _cancel(self, result: AsyncResult[Any]) -> Cancelled:
        from .broker import Cancelled

        session = self.session()
        of_task = f" ({result.task})" if result.task else ""
        message = f'Job "{result.id}"{of_task} was cancelled.'
        await session.drain(held=False)
        while result.outbox is not None and result.ticket in result.outbox.held:
            if result.outbox.withdraw(result.ticket, JobCancelled(message)):
                return Cancelled.DONE
            await asyncio.sleep(0.01)
        error = ErrorInfo(f"{JobCancelled.__module__}.{JobCancelled.__qualname__}", message)
        outcome = Outcome(WIRE_VERSION, result.id, result.task, Status.CANCELLED, finished_at=time.time(), error=error)
        sealed = self.outcomes_sealer.seal(encode_outcome(outcome))
        done = await session.broker.cancel(result.id, sealed, self.result_ttl)
        if done is Cancelled.UNKNOWN:
            raise _unknown(result)
        return done

    async def forget_outcome(self, result: AsyncResult[Any]) -> bool:
        (was_there,) = await self._in_time(self.session().broker.forget([result.id]))
        return was_there

    def block(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the portal and wait in this thread; Ctrl-C ends the wait."""
        return portal.run(work)

    # ---- the end

    async def close(self) -> None:
        """Send what is left in the running loop and hang up there."""
        await self.leave(self.session())

    def last_words(self) -> None:
        """At interpreter exit: send what is left with a blocking connection (no thread can start any more)."""
        from .brokers import push_blocking

        outboxes = self._orphans + [session.outbox for session in self._sessions.values()]
        for loop, session in self._sessions.items():
            if not loop.is_running():
                session.broker.abandon()
        self._orphans = []
        self._sessions.clear()
        for outbox in outboxes:
            while batch := outbox.next_batch(now=True):
                send = (self.url, self.app, outbox.client, outbox.sequence, batch, outbox.room, outbox.drop)
                try:
                    overflow = push_blocking(*send)
                except AiotaskError as error:
                    outbox.refuse_all(error)
                else:
                    outbox.accept(overflow, final=True)

    def forget(self) -> None:
        """In a forked child: sockets, outboxes and sessions stay the parent's."""
        self._lock = threading.Lock()
        for session in self._sessions.values():
            session.broker.abandon()
        self._sessions.clear()
        self._orphans, self._last = [], (None, None)


def _let_go(sessions: dict[asyncio.AbstractEventLoop, Session]) -> None:
    """Their client is gone: close them in the loops that still run."""
    for loop, session in sessions.items():
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(session.close(), loop)
        else:
            session.broker.abandon()


async def _within(timeout: float, future: asyncio.Future[Outcome], result: AsyncResult[Any]) -> Outcome:
    try:
        async with asyncio.timeout(timeout):
            return await future
    except TimeoutError:
        text = f'Job "{result.id}" ({result.task}) has no outcome after {timeout:g} s. It goes on: await it '
        raise about(ResultTimeout(f"{text}again, or cancel() it."), result.id) from None


def _unknown(result: AsyncResult[Any]) -> Exception:
    """Why the broker knows nothing of this job."""
    refused: Exception | None = result.outbox.error_of(result.ticket) if result.outbox is not None else None
    text = f'Nothing is known of job "{result.id}": never sent, or older than its result TTL.'
    return about(ResultExpired(text), result.id) if refused is None else refused


def _arrive(future: asyncio.Future[Outcome], arrival: Arrival) -> None:
    if future.done():
        return
    if isinstance(arrival, Exception):
        future.set_exception(arrival)
    else:
        future.set_result(arrival)


def _error_of(client: Client, result: AsyncResult[Any]) -> Exception:
    assert result.arrived is not None and result.arrived.status in FINAL
    try:
        client.reveal(result.arrived, result.function)
    except Exception as error:
        return error
    return BrokerError(f'Job "{result.id}" ended as {result.arrived.status} without an error.')


_clients: weakref.WeakSet[Client] = weakref.WeakSet()
#: Numbers of sessions. Those of all clients together: the broker takes an address that it knows for the same
#: sender, and several apps of one name in a process are several senders.
_numbers = itertools.count(1)


def _at_exit() -> None:
    portal.stop(FAREWELL)
    for client in list(_clients):
        client.last_words()


def _after_fork() -> None:
    for client in list(_clients):
        client.forget()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
