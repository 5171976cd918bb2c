"""The sending side of an app: a session per event loop, a portal for code without one, and what happens at the end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .brokers import load_blocking, push_blocking
from .context import current_job, unseated
from .errors import BrokerError, ConfigError, ResultExpired, ResultTimeout
from .exits import exits
from .inquiry import Inquiry
from .job import FINAL, Status, ids
from .loading import refuse_to_wait, warn_of_send
from .mailbox import Arrival, Mailbox
from .outbox import HIGH_WATER, Outbox
from .outcome import Outcome
from .portal import portal, run_here, running_loop
from .rescue import TICK, Rescue, drained
from .result import AsyncResult, reveal
from .seal import Sealer
from .session import FAREWELL, Session

if TYPE_CHECKING:
    from .backpressure import Backpressure
    from .broker import Cancelled, Overflow, Push
    from .serializer import Serializer

__all__ = ["Client"]

T = TypeVar("T")

logger = logging.getLogger("aiotask.client")

#: Seconds for which a thread that sends faster than the broker accepts is held up at each send, at most.
HELD_UP = 5.0
#: A wait that is shorter than this (seconds) ends with one look of its own.
SHORT = 2.0


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
        #: By loop; None: the one of the program's end. Changed without a lock, by steps that cannot be interrupted: a
        #: signal handler or a finalizer may send at any moment.
        self._sessions: dict[asyncio.AbstractEventLoop | None, Session] = {}
        #: Outboxes of loops that ended without closing them.
        self._orphans: list[Outbox] = []
        #: Every outbox that there is, of sessions that have ended too.
        self._outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
        self._rescue = Rescue(self._loop_of, lambda: self.session().broker)
        self._inquiry = Inquiry(self.session, self._hand_on, url, self.outcomes_sealer, result_ttl)
        self._last: tuple[asyncio.AbstractEventLoop | None, Session | None] = (None, None)
        _clients.add(self)
        exits.watch_multiprocessing()
        # Now: when the program ends nothing can be imported any more.
        load_blocking(url)
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
            self._bury_dead_loops()
            address = f"{ids.client}.{next(_numbers):x}"
            made = Session(self, address, loop, in_portal=loop is None or portal.runs(loop))
            # Another thread, or a send in the middle of this one, may have been faster.
            session = self._sessions.setdefault(loop, made)
            self._outboxes.add(session.outbox)
        if loop is not None and loop is asyncio._get_running_loop():
            self._last = (loop, session)
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

    def _bury_dead_loops(self) -> None:
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

    def _adopt_orphans(self) -> list[Outbox]:
        orphans, self._orphans = self._orphans, []
        for outbox in orphans:
            self._rescue.start(outbox)
        return orphans

    async def flush(self) -> None:
        """Everything handed over so far, in any loop, is accepted or refused."""
        session = self.session()
        await session.drain()
        self._bury_dead_loops()
        others = [other.outbox for other in self._sessions.copy().values() if other is not session]
        for outbox in [*self._adopt_orphans(), *self._rescue.outboxes, *others]:
            await self._emptied(outbox)

    async def _emptied(self, outbox: Outbox) -> None:
        self._rescue.start(outbox)
        await drained(outbox)

    async def _hand_on(self, result: AsyncResult[Any]) -> None:
        """Return once a job that was handed over in another loop is with the broker, or waits for room."""
        if result.outbox is None:
            # It may be of a loop that stands still.
            self._bury_dead_loops()
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
            self._rescue.start(outbox)
            while not outbox.is_settled(result.ticket) and result.ticket not in outbox.held:  # noqa: ASYNC110 - any loop
                await asyncio.sleep(TICK)

    async def accepted(self, result: AsyncResult[Any]) -> None:
        refuse_to_wait("sent()")
        if result.outbox is None:
            return
        outbox: Outbox = result.outbox
        if outbox.is_parents(result.ticket):
            return await self._inquiry.sent_by_parent(result)
        if outbox.is_settled(result.ticket):
            return await outbox.accepted(result.ticket)
        session = self.session()
        if outbox is session.outbox:
            session.flush_soon()
        else:
            self._rescue.start(outbox)
        # A job that waits for room in a queue may wait for its own worker.
        await unseated(outbox.accepted(result.ticket))

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
        refuse_to_wait("await, get() or wait()")
        future: asyncio.Future[Outcome] = _asyncio_loop().create_future()
        waiter = partial(_arrive, future)
        mailbox = self._wait_for(result, waiter)
        try:
            if timeout is None and current_job().seat is None:
                outcome = await future
            else:
                outcome = await unseated(future if timeout is None else self._within(timeout, future, result))
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
        if outbox is not session.outbox:
            self._wait_for_foreign(result)
        if session._flushing is None:
            if not session.outbox.empty or session._closer is None:
                session.flush_soon()
        elif session.outbox.held:
            session.flush_soon()
        mailbox.add(result, waiter, foreign=result.shared or outbox is not session.outbox)
        if not session.absence.is_watching:
            session.absence.watch()
        return mailbox

    def _wait_for_foreign(self, result: AsyncResult[Any]) -> None:
        """See to it that a job goes out that another loop was to send."""
        if result.outbox is None:
            self._bury_dead_loops()
            for loop, other in self._sessions.copy().items():
                if loop is not None and not loop.is_running():
                    self._rescue.start(other.outbox)
        elif not result.outbox.is_settled(result.ticket):
            self._rescue.start(result.outbox)
        if self._orphans:
            self._adopt_orphans()

    async def _within(self, timeout: float, future: asyncio.Future[Outcome], result: AsyncResult[Any]) -> Outcome:
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            # So short a wait may be over before the stored outcome was looked up.
            outcome = await self._inquiry.outcome(result) if timeout < SHORT else None
        if outcome is None:
            raise ResultTimeout(
                f'Job "{result.id}" ({result.task}) has no outcome after {timeout:g} s. It goes on: await it '
                "again, or cancel() it."
            )
        return outcome

    async def outcomes(self, results: list[AsyncResult[Any]], errors: dict[str, Exception] | None = None) -> None:
        """Wait for many at once; returns when all are there, or raises as soon as one ended badly.

        Args:
            errors: go on to the end, and put in here, by id, why a job brought no outcome.
        """
        refuse_to_wait("gather()")
        future: asyncio.Future[None] = _asyncio_loop().create_future()
        left = len(results)

        def arrive(result: AsyncResult[Any], arrival: Arrival) -> None:
            nonlocal left
            left -= 1
            if isinstance(arrival, Exception):
                if errors is not None:
                    errors[result.id] = arrival
                elif not future.done():
                    future.set_exception(arrival)
                    return
            else:
                result.arrived = arrival
            if not future.done():
                if errors is None and not isinstance(arrival, Exception) and arrival.status is not Status.SUCCESS:
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
        refuse_to_wait("status()")
        return await self._inquiry.status(result)

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        refuse_to_wait("cancel()")
        return await self._inquiry.cancel(result)

    def block(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the portal and wait in this thread; Ctrl-C ends the wait."""
        try:
            refuse_to_wait("get() or result.blocking")
        except ConfigError:
            work.close()
            raise
        if self._portals_loop() is None:
            return run_here(work)
        future = portal.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    # ---- the end

    async def close(self) -> None:
        """Send what is left in the running loop and hang up there."""
        await self.leave(self.session())

    def last_words(self) -> None:
        """At interpreter exit: send what is left with a blocking connection (no thread can start any more)."""
        outboxes = [*self._orphans, *self._rescue.outboxes, *(each.outbox for each in self._sessions.copy().values())]
        for loop, session in self._sessions.copy().items():
            if loop is None or not loop.is_running():
                session.broker.abandon()
        self._orphans = []
        self._sessions.clear()
        self._last = (None, None)
        for outbox in outboxes:
            self._send_now(outbox)

    def _send_now(self, outbox: Outbox) -> None:
        outbox.flush_blocking(self._push_blocking)

    def _push_blocking(self, outbox: Outbox, batch: list[Push]) -> Overflow | None:
        return push_blocking(self.url, self.app, outbox.client, outbox.sequence, batch, outbox.room, outbox.drop)

    def forget(self) -> None:
        """In a forked child: sockets, outboxes and sessions stay the parent's."""
        for session in self._sessions.values():
            session.broker.abandon()
        for outbox in list(self._outboxes):
            outbox.is_copy = True
        self._sessions.clear()
        self._rescue.outboxes.clear()
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


def _asyncio_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio._get_running_loop()
    if loop is None:
        other = next((name for name in ("trio", "curio") if name in sys.modules), "")
        instead = f"`await {other}.to_thread.run_sync(result.get)`" if other == "trio" else "`result.get()` in a thread"
        raise ConfigError(
            f"A result is awaited in asyncio, and no event loop of asyncio runs here. {other and f'In {other}: '}"
            f"{'use ' if not other else ''}{instead}."
        )
    return loop


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


exits.set(_at_exit, _after_fork)
