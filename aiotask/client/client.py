"""The sending side of an app: its sessions, and waiting for outcomes in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..context import current_job, unseated
from ..errors import BrokerError, ConfigError, ResultExpired, ResultTimeout, about
from ..functions.loading import refuse_to_wait
from ..job import FINAL, Status
from ..loops.portal import asyncio_loop, portal, run_here
from ..outcome import Outcome
from ..results.result import AsyncResult, reveal
from .backpressure import Backpressure, WhenFull
from .inquiry import Inquiry
from .limits import refuse_own_limit
from .mailbox import Arrival, Mailbox
from .send_buffer import SendBuffer
from .streams import StreamReading

if TYPE_CHECKING:
    from ..broker import Cancelled
    from ..results.graph import Graph
    from ..wire.serializer import Serializer

__all__ = ["Client", "client_at"]

T = TypeVar("T")


#: A wait with a timeout below SHORT_WAIT seconds asks the broker once more at its end, for at most the second number.
SHORT_WAIT, LAST_POLL_TIMEOUT = 2.0, 1.0


class Client(StreamReading):
    """How an app sends and waits."""

    @property
    def _inquiry(self) -> Inquiry:
        return Inquiry(self)

    # ---- waiting

    async def accepted(self, result: AsyncResult[Any]) -> None:
        refuse_to_wait("sent()")
        asyncio_loop()
        if result.send_buffer is None:
            return
        send_buffer: SendBuffer = result.send_buffer
        if send_buffer.is_parents(result.ticket):
            return await self._inquiry.sent_by_parent(result)
        if send_buffer.is_settled(result.ticket):
            return await send_buffer.accepted(result.ticket)
        session = self.session()
        if send_buffer is session.send_buffer:
            session.flush_soon()
        else:
            self._relieve(send_buffer)
        # A job that waits for room in a queue may wait for its own worker.
        await unseated(send_buffer.accepted(result.ticket))

    async def outcome(self, result: AsyncResult[Any], timeout: float | None) -> Outcome:
        """The outcome of one job.

        Raises:
            ResultTimeout: the outcome did not arrive within ``timeout`` seconds.
            AiotaskError: the job will have no outcome.
        """
        if result.ignored:
            raise ResultExpired(
                f'Task "{result.task}" has ignore_result=True, so there is nothing to await. '
                "Await `result.sent()`, or remove ignore_result=True."
            )
        refuse_to_wait("await, get() or wait()")
        here = current_job()
        if here.calls and timeout != 0:
            refuse_own_limit(here, (result,))
        future: asyncio.Future[Outcome] = asyncio_loop().create_future()
        waiter = partial(_arrive, future)
        mailbox = self._wait_for(result, waiter)
        try:
            if timeout is None and here.seat is None:
                outcome = await future
            else:
                outcome = await unseated(future if timeout is None else self._within(timeout, future, result))
        except ResultExpired:
            await self._inquiry.refuse_group(result)
            raise
        finally:
            if not future.done() or future.cancelled():
                mailbox.drop(result.id, waiter)
        result.arrived = outcome
        return outcome

    def _wait_for(self, result: AsyncResult[Any], waiter: Callable[[Arrival], None]) -> Mailbox:
        session = self.session()
        mailbox, send_buffer = session.mailbox, result.send_buffer
        refused = send_buffer.error_of(result.ticket) if send_buffer is not None else None
        if refused is not None:
            waiter(refused)
            return mailbox
        if send_buffer is not session.send_buffer:
            self.relieve_for(result)
        if session._flushing is None:
            if not session.send_buffer.empty or session._closer is None:
                session.flush_soon()
        elif session.send_buffer.waiting_for_room:
            session.flush_soon()
        mailbox.add(result, waiter, foreign=result.shared or send_buffer is not session.send_buffer)
        if not session.absence.is_watching:
            session.absence.watch()
        return mailbox

    async def _within(self, timeout: float, future: asyncio.Future[Outcome], result: AsyncResult[Any]) -> Outcome:
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            outcome = await self._last_poll(result) if timeout < SHORT_WAIT else None
        if outcome is None:
            text = f'Job "{result.id}" ({result.task}) has no outcome after {timeout:g} s. The job goes on: await it '
            raise about(ResultTimeout(f"{text}again, or cancel() it."), result.id)
        return outcome

    async def _last_poll(self, result: AsyncResult[Any]) -> Outcome | None:
        """The stored outcome: a short wait may end before the mailbox has asked for it."""
        with contextlib.suppress(TimeoutError, BrokerError):
            async with asyncio.timeout(LAST_POLL_TIMEOUT):
                return await self._inquiry.outcome(result)
        return None

    async def outcomes(self, results: list[AsyncResult[Any]], errors: dict[str, Exception] | None = None) -> None:
        """Wait for many outcomes; return when all have arrived, or raise as soon as a job has failed.

        Args:
            errors: wait for all jobs, and put in here, by id, why a job has no outcome.
        """
        refuse_to_wait("gather()")
        if (here := current_job()).calls:
            refuse_own_limit(here, results)
        future: asyncio.Future[None] = asyncio_loop().create_future()
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
        asyncio_loop()
        return await self._inquiry.status(result)

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        refuse_to_wait("cancel()")
        asyncio_loop()
        return await self._inquiry.cancel(result)

    async def graph(self, result: AsyncResult[Any]) -> Graph:
        return await self.graph_named(result.id, result)

    async def graph_named(self, id: str, result: AsyncResult[Any] | None = None) -> Graph:
        refuse_to_wait("graph()")
        asyncio_loop()
        return await self._inquiry.graph(id, result)

    async def children(self, result: AsyncResult[Any]) -> list[AsyncResult[Any]]:
        refuse_to_wait("children()")
        asyncio_loop()
        return [AsyncResult(id, self) for id in await self._inquiry.children(result.id)]

    async def replay_graph(self, id: str) -> int:
        refuse_to_wait("replay_graph()")
        asyncio_loop()
        return await self._inquiry.replay(id)

    async def forget_outcome(self, result: AsyncResult[Any]) -> bool:
        refuse_to_wait("forget()")
        asyncio_loop()
        return await self._inquiry.forget(result)

    def block(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal and wait in this thread; Ctrl-C ends the wait."""
        try:
            refuse_to_wait("get() or result.blocking")
        except ConfigError:
            work.close()
            raise
        return run_here(work) if self._portals_loop() is None else portal.run(work)


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


def client_at(
    location: tuple[str, tuple[str, ...]],
    app: str,
    serializer: Serializer,
    result_ttl: float,
    limits: tuple[Mapping[str, int], WhenFull] | None,
) -> Client:
    """The client of an app.

    Args:
        location: the broker's URL, and the app's secrets.
        app: name of the app.
        serializer: the serializer of bodies.
        result_ttl: seconds that outcomes are kept.
        limits: those of queues, as ``backpressure.queue_limits`` returns them.
    """
    url, secrets = location
    backpressure = Backpressure(*limits, secrets) if limits else None
    return Client(app, url, secrets, serializer, result_ttl=result_ttl, backpressure=backpressure)
