"""Reading what jobs emit and report while they run: told by the results channel, and read from the broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from typing import Any

from ..broker import Notice
from ..brokers import streams_of
from ..brokers.streams import FLUSH_BYTES, FLUSH_ITEMS, WINDOW_ITEMS, Streams
from ..context import current_job, unseated
from ..errors import (
    AiotaskError,
    BrokerError,
    ConfigError,
    ConnectionLost,
    ResultExpired,
    ResultTimeout,
    SealError,
    about,
)
from ..functions.loading import refuse_to_wait
from ..job import Status
from ..loops.agent import agent
from ..loops.portal import asyncio_loop
from ..results.progress import Progress, open_progress
from ..results.result import AsyncResult, reveal
from ..results.stream import Stream
from ..wire.items import open_item
from ..wire.seal import Sealer
from .limits import refuse_own_limit
from .mailbox import RECONNECT_TIMEOUT, Arrival, Mailbox
from .sessions import Sessions

__all__ = ["StreamReading"]

#: Seconds after which the broker is asked, whatever the channel tells.
LOOK_EVERY = 0.75
#: The same, after a look that has found what was not told: the subscription may be broken.
LOOK_SOON = 0.05
#: Seconds between two attempts to reach the broker.
RETRY_EVERY = 0.1
#: Seconds that the goodbye of a reader may take.
LEAVE_TIMEOUT = 10.0


class StreamReading(Sessions, ABC):
    """The part of a client that reads streams and progress."""

    @abstractmethod
    async def accepted(self, result: AsyncResult[Any]) -> None:
        """Return once the broker has accepted the job."""

    @cached_property
    def _items_sealer(self) -> Sealer:
        return Sealer(self.secrets, "item")

    @cached_property
    def _progress_sealer(self) -> Sealer:
        return Sealer(self.secrets, "progress")

    async def items(self, result: Stream[Any], after: int, *, cancels: bool) -> AsyncIterator[tuple[int, Any]]:
        """Number and item of each that follows item ``after``.

        Args:
            cancels: whether the job is cancelled where the caller stops before its end.
        """
        if result.ignored:
            raise ResultExpired(f'Task "{result.task}" has ignore_result=True, so its items are dropped.')
        refuse_to_wait("a stream")
        asyncio_loop()
        reader = _Reader(self, result, after)
        try:
            while True:
                while reader.ready:
                    number, body = reader.take()
                    yield number, self.serializer.load_value(body, result.function)
                if not await reader.more():
                    return
        finally:
            reader.close()
            if not reader.is_over:
                await _to_the_end(reader.goodbyes, lambda: reader.say_goodbye(cancels=cancels))

    async def all_items(self, result: Stream[Any], timeout: float | None) -> list[Any]:
        """All items of a stream; the handle keeps them."""
        if result.kept is None:
            try:
                async with asyncio.timeout(timeout):
                    items = self.items(result, 0, cancels=False)
                    result.kept = [item async for _, item in items]
            except TimeoutError:
                text = f'Stream "{result.id}" ({result.task}) has not ended after {timeout:g} s.'
                raise about(ResultTimeout(text), result.id) from None
        return list(result.kept)

    async def progress(self, result: AsyncResult[Any]) -> AsyncIterator[Progress]:
        """The progress of a job, each time that it changes."""
        refuse_to_wait("progress()")
        asyncio_loop()
        watch = _Watch(self, result, "result.progress()")
        last: bytes | None = None
        try:
            if result.send_buffer is not None and watch.arrived is None:
                # Before that, the broker does not know of a job that can be followed.
                await self.accepted(result)
            while True:
                watch.follow()
                while watch.heard:
                    if (sealed := watch.heard.popleft()) != last:
                        last = sealed
                        with contextlib.suppress(SealError):
                            yield open_progress(self._progress_sealer, watch.id, sealed)
                if watch.arrived is not None:
                    if isinstance(watch.arrived, Exception) and not result.ignored:
                        raise watch.arrived
                    return
                if watch.is_behind:
                    now = await watch.ask(watch.broker.follow(watch.id, watch.address))
                    if now is not None and not watch.heard:
                        watch.heard.append(now)
                        continue
                await watch.pause()
        finally:
            if watch.close() and watch.arrived is None:
                await _to_the_end(watch.goodbyes, lambda: watch.broker.unfollow(watch.id, watch.address))


class _Watch:
    """Waits for the end of one job, and hears what is told of it."""

    def __init__(self, client: Any, result: AsyncResult[Any], option: str) -> None:
        session = client.session()
        self.broker: Streams = streams_of(session.broker, option)
        self.address: str = session.mailbox.address
        self.goodbyes: set[asyncio.Task[None]] = session.goodbyes
        self._mailbox: Mailbox = session.mailbox
        self.id = self._mailbox.id_of(result.id)
        self._wake = asyncio.Event()
        self._patience = LOOK_EVERY
        #: Sealed items, or progress.
        self.heard: deque[bytes] = deque()
        #: Whether the broker is to be asked, since not all may have been heard.
        self.is_behind = True
        self.arrived: Arrival | None = result.arrived
        if self.arrived is None and (here := current_job()).calls:
            refuse_own_limit(here, (result,))
        self._mailbox.hearers.add(self.id, self._hear)
        if self.arrived is None:
            client._wait_for(result, self._arrive)

    def _arrive(self, arrival: Arrival) -> None:
        self.arrived = arrival
        self._wake.set()

    def _hear(self, notice: Notice | None) -> None:
        told = None if notice is None else notice.item if notice.item is not None else notice.progress
        if told is None:
            self.is_behind = True
        elif len(self.heard) < 2 * WINDOW_ITEMS:
            self.heard.append(told)
        self._wake.set()

    def follow(self) -> None:
        """Look at the job that this one has turned out to be, where it is a unique one."""
        if (id := self._mailbox.id_of(self.id)) != self.id:
            self.id, self.is_behind = id, True

    async def pause(self) -> None:
        """Return when there is news, or when it is time to ask the broker."""
        await unseated(self._pause())

    async def _pause(self) -> None:
        self.is_behind = False
        try:
            async with asyncio.timeout(self._patience):
                await self._wake.wait()
        except TimeoutError:
            self.is_behind = True
            self._patience = min(2 * self._patience, LOOK_EVERY)
        self._wake.clear()

    async def ask(self, answer: Awaitable[Any]) -> Any:
        """The broker's answer; None if it cannot be reached."""
        try:
            return await answer
        except BrokerError:
            return None

    def close(self) -> bool:
        """Stop listening; whether no other reader of the job is here."""
        self.follow()
        self._mailbox.drop(self.id, self._arrive)
        return self._mailbox.hearers.remove(self.id, self._hear)


class _Reader(_Watch):
    """Takes items in their order, from what is told and from what the broker has."""

    def __init__(self, client: StreamReading, result: Stream[Any], after: int) -> None:
        super().__init__(client, result, "A task that is a generator")
        self._client = client
        self._result = result
        self._sealer = client._items_sealer
        self._last = self._said = after
        #: Bytes of the items that the broker does not know to be taken.
        self._unsaid_bytes = 0
        self.ready: deque[tuple[int, bytes]] = deque()
        #: Whether the stream has ended, and all items were read.
        self.is_over = False

    def take(self) -> tuple[int, bytes]:
        return self.ready.popleft()

    async def more(self) -> bool:
        """Return once items are ready; False: there are no more.

        Raises:
            Exception: the error with which the job has ended; ResultExpired: items are missing.
        """
        while True:
            ended = self.arrived is not None
            self.follow()
            self._take_heard()
            if self.ready and not ended:
                if self._is_much_unsaid:
                    await self._look(0)
                return True
            if self.is_behind or ended or self._is_much_unsaid:
                found = await self._look(WINDOW_ITEMS)
                if self.ready:
                    return True
                if ended and not found:
                    self._end()
                    return False
            if not ended:
                await self.pause()

    @property
    def _is_much_unsaid(self) -> bool:
        """Whether the run may soon wait for the broker to know what was taken."""
        return self._last - self._said >= FLUSH_ITEMS or self._unsaid_bytes >= FLUSH_BYTES

    def _add(self, number: int, body: bytes) -> None:
        self._last = number
        self._unsaid_bytes += len(body)
        self.ready.append((number, body))

    def _take_heard(self) -> None:
        while self.heard:
            try:
                item = open_item(self._sealer, self.id, self.heard.popleft())
            except SealError:
                # Every client can publish anything; the broker has the true item.
                self.is_behind = True
                continue
            if item.number == self._last + 1:
                self._add(item.number, item.body)
            elif item.number > self._last:
                self.is_behind = True

    async def _look(self, limit: int) -> bool:
        """Say how far the reader is, and read on from there; whether there was something."""
        since = time.monotonic()
        while True:
            try:
                # What is ready is not taken yet.
                at = self._last - len(self.ready)
                count = limit + len(self.ready) if limit else 0
                found = await self.broker.read_items(self.id, at, self.address, count)
                break
            except BrokerError:
                if time.monotonic() - since > RECONNECT_TIMEOUT:
                    raise
                await asyncio.sleep(RETRY_EVERY)
        self._said, self._unsaid_bytes = at, sum(len(body) for _, body in self.ready)
        before = self._last
        for number, sealed in found:
            if number == self._last + 1:
                item = open_item(self._sealer, self.id, sealed)
                if item.number != number:
                    raise SealError(f'Item {item.number} of stream "{self.id}" is kept as item {number}.')
                self._add(number, item.body)
            elif number > self._last:
                raise self._expired(number - 1)
        if self._last > before:
            self._patience = LOOK_SOON
        return self._last > before

    def _expired(self, last: int) -> ResultExpired:
        text = f'Items {self._last + 1:,} to {last:,} of stream "{self.id}" are no longer kept: of what a reader has '
        return about(ResultExpired(f"{text}taken the last 1,000 are, as long as the result."), self.id)

    def _end(self) -> None:
        """The job has ended, and the broker has no further item."""
        self.is_over = True
        arrival = self.arrived
        if isinstance(arrival, Exception):
            raise arrival
        assert arrival is not None
        value = reveal(arrival, self._client.serializer, None)
        if arrival.status is Status.SUCCESS and (isinstance(value, bool) or not isinstance(value, int)):
            raise ConfigError(f'Job "{self.id}" ({arrival.task}) does not stream: {_no_generator(self.id)}')
        if self._last < value and not self._last:
            # A number may be what a plain job has returned.
            raise about(
                ResultExpired(
                    f'There are no items of job "{self.id}" ({arrival.task}). Either they are no longer kept, or the '
                    f"job does not stream: {_no_generator(self.id)}"
                ),
                self.id,
            )
        if self._last < value:
            raise self._expired(value)

    async def say_goodbye(self, *, cancels: bool) -> None:
        if cancels:
            await self._result.cancel()
        else:
            await self.broker.leave_stream(self.id, self.address)


def _no_generator(id: str) -> str:
    return (
        f'its task is no generator, and has one value. Await app.result("{id}") for it; to have items while the job '
        "runs, let the task yield them."
    )


async def _to_the_end(goodbyes: set[asyncio.Task[None]], work: Callable[[], Awaitable[None]]) -> None:
    """Do this even if the caller is cancelled meanwhile, and again where the connection breaks; another failure is no
    matter.

    Args:
        goodbyes: where the session finds the task, should it be closed meanwhile.
    """
    task = agent(_in_time(work))
    goodbyes.add(task)
    task.add_done_callback(goodbyes.discard)
    await asyncio.shield(task)


async def _in_time(work: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(AiotaskError, TimeoutError):
        async with asyncio.timeout(LEAVE_TIMEOUT):
            while True:
                try:
                    return await work()
                except ConnectionLost:
                    # The job would wait for this reader for as long as the program has another one.
                    await asyncio.sleep(RETRY_EVERY)
