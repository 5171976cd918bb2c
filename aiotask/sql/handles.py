"""The home of handles on jobs that were sent in a transaction: until the relay has sent them, nothing can be asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..client.client import Client
from ..context import unseated
from ..errors import NotSent, ResultExpired, ResultTimeout, about
from ..functions.loading import refuse_to_wait
from ..job import Status
from ..outcome import Outcome
from ..results.result import AsyncResult
from ..wire.serializer import Serializer
from .carriers import Carrier, Collected, Fate

if TYPE_CHECKING:
    from ..broker import Cancelled
    from ..brokers.sql.outbox import Outbox
    from ..results.graph import Graph
    from ..results.progress import Progress
    from ..results.stream import Stream

__all__ = ["Unsent"]

T = TypeVar("T")

#: Seconds between two looks at whether the relay has sent a job: at first, and at most.
FIRST_LOOK, LONGEST_LOOK = 0.02, 1.0
#: Seconds for which a request other than a wait gives the relay time to send its job.
RELAY_TIMEOUT = 4.8

_FATES = {"in progress": Fate.OPEN, "aborted": Fate.ROLLED_BACK, "committed": Fate.COMMITTED}


class Unsent:
    """The home of the handles of one block, in place of the client, which gets each of them once its job is sent."""

    def __init__(self, client: Client, carrier: Carrier, outbox: Outbox) -> None:
        self._client = client
        self.serializer: Serializer = client.serializer
        self._carrier = carrier
        self._outbox = outbox
        #: By the id of the job.
        self._jobs: dict[str, Collected] = {}

    def add(self, job: Collected, result: AsyncResult[Any]) -> None:
        self._jobs[result.id] = job
        result._home = self

    # ---- as a client, once the job is sent

    async def outcome(self, result: AsyncResult[Any], timeout: float | None) -> Outcome:
        began = time.monotonic()
        if not result.ignored:
            await self._sent(result, timeout, "await, get() or wait()")
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        return await self._client.outcome(result, left)

    async def outcomes(self, results: list[AsyncResult[Any]], errors: dict[str, Exception] | None = None) -> None:
        refuse_to_wait("gather()")
        committed = {each for each in results if self._carrier.fate(self._jobs[each.id]) is Fate.COMMITTED}
        sent = []
        for result in results:
            try:
                if result not in committed:
                    await self._until_sent(result, once=False)
            except NotSent as error:
                if errors is None:
                    raise
                errors[result.id] = error
            else:
                sent.append(result)
        if committed:
            await unseated(self._look_at_all(list(committed)))
        if sent:
            await self._client.outcomes(sent, errors)

    async def _look_at_all(self, results: Sequence[AsyncResult[Any]]) -> None:
        """Return once the relay has sent all these jobs, whose transaction is known to have committed."""
        left, delay = {self._jobs[result.id].seq: result for result in results}, FIRST_LOOK
        while left:
            held = await asyncio.to_thread(self._outbox.held, list(left))
            for seq in [seq for seq in left if seq not in held]:
                left.pop(seq)._home = self._client
            if left:
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_LOOK)

    async def accepted(self, result: AsyncResult[Any]) -> None:
        await self._sent(result, None, "sent()")

    async def status(self, result: AsyncResult[Any]) -> Status:
        await self._sent_soon(result, "status()")
        return await self._client.status(result)

    async def cancel(self, result: AsyncResult[Any]) -> Cancelled:
        await self._sent_soon(result, "cancel()")
        return await self._client.cancel(result)

    async def forget_outcome(self, result: AsyncResult[Any]) -> bool:
        await self._sent_soon(result, "forget()")
        return await self._client.forget_outcome(result)

    async def graph(self, result: AsyncResult[Any]) -> Graph:
        await self._sent_soon(result, "graph()")
        return await self._client.graph(result)

    async def children(self, result: AsyncResult[Any]) -> list[AsyncResult[Any]]:
        await self._sent_soon(result, "children()")
        return await self._client.children(result)

    async def progress(self, result: AsyncResult[Any]) -> AsyncIterator[Progress]:
        await self._sent_soon(result, "progress()")
        async for each in self._client.progress(result):
            yield each

    def items(self, result: Stream[Any], after: int, *, cancels: bool) -> AsyncIterator[tuple[int, Any]]:
        return self._client.items(result, after, cancels=cancels)

    async def all_items(self, result: Stream[Any], timeout: float | None) -> list[Any]:
        began = time.monotonic()
        await self._sent(result, timeout, "await, get() or wait()")
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        return await self._client.all_items(result, left)

    def block(self, work: Coroutine[Any, Any, T]) -> T:
        return self._client.block(work)

    # ---- until then

    async def _sent(self, result: AsyncResult[Any], timeout: float | None, call: str) -> None:
        """Return once the relay has sent the job.

        Raises:
            NotSent: its transaction is still open, or was rolled back.
            ResultTimeout: the relay has not sent it within ``timeout`` seconds.
        """
        refuse_to_wait(call)
        try:
            async with asyncio.timeout(timeout or None):
                await self._until_sent(result, once=timeout == 0)
        except TimeoutError:
            raise about(
                ResultTimeout(_no_relay(result, f"has not been sent within {timeout:g} s")), result.id
            ) from None

    async def _sent_soon(self, result: AsyncResult[Any], call: str) -> None:
        try:
            await self._sent(result, RELAY_TIMEOUT, call)
        except ResultTimeout as error:
            raise about(NotSent(str(error)), result.id) from None

    async def _until_sent(self, result: AsyncResult[Any], *, once: bool) -> None:
        job = self._jobs[result.id]
        if not await self._is_waiting(result, job):
            return
        if once:
            raise TimeoutError
        await unseated(self._look(result, job))

    async def _look(self, result: AsyncResult[Any], job: Collected) -> None:
        delay = FIRST_LOOK
        while await self._is_waiting(result, job):
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_LOOK)

    async def _is_waiting(self, result: AsyncResult[Any], job: Collected) -> bool:
        """Whether the job waits for the relay. If it was sent, its handle is the client's from now on."""
        fate = self._carrier.fate(job)
        if fate in (Fate.OPEN, Fate.ROLLED_BACK):
            raise _not_sent(result, fate)
        seq = job.seq
        assert seq is not None
        if await asyncio.to_thread(self._outbox.holds, seq, job.push):
            return True
        if fate is Fate.UNKNOWN:
            await self._find_out(result, job)
        result._home = self._client
        return False

    async def _find_out(self, result: AsyncResult[Any], job: Collected) -> None:
        """Return if a job that does not wait for the relay was sent; NotSent otherwise."""
        if job.transaction is not None:
            status = await asyncio.to_thread(self._outbox.status, job.transaction)
            fate = _FATES.get(status or "", Fate.UNKNOWN)
            if fate in (Fate.OPEN, Fate.ROLLED_BACK):
                raise _not_sent(result, fate)
            if fate is Fate.COMMITTED:
                return
        try:
            await self._client.status(result)
        except ResultExpired:
            raise _not_sent(result, Fate.OPEN if self._carrier.is_open else Fate.UNKNOWN) from None


_WHY = {
    Fate.OPEN: "its transaction is still open. Await it after the commit.",
    Fate.ROLLED_BACK: "its transaction, or the savepoint or block in which it was sent, was rolled back.",
    Fate.UNKNOWN: "its transaction was rolled back, or it has ended and its result is no longer kept.",
}


def _not_sent(result: AsyncResult[Any], fate: Fate) -> NotSent:
    return about(NotSent(f'Job "{result.id}" ({result.task}) was not sent: {_WHY[fate]}'), result.id)


def _no_relay(result: AsyncResult[Any], how: str) -> str:
    return (
        f'Job "{result.id}" ({result.task}) {how}: it waits in the outbox, its transaction being committed. The keeper '
        "of a worker of this app sends it: is one running, with the same database?"
    )
