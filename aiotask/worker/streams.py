"""Generator tasks: what a run yields goes to the broker while the run goes on, as fast as the reader reads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from ..broker import Broker
from ..brokers import streams_of
from ..brokers.streams import (
    FLUSH_BYTES,
    FLUSH_ITEMS,
    WINDOW_BYTES,
    WINDOW_ITEMS,
    Emit,
    Emitted,
    Reader,
)
from ..context import unseated
from ..errors import BrokerError, ConfigError, ConnectionLost, Interrupted
from ..loops.agent import agent
from ..loops.delay import BrokerDelay
from ..wire.items import seal_item
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from ..wire.unserializable import blame_value
from .membership import Membership
from .run import Run

__all__ = ["Outlets", "stream_async", "stream_sync"]

#: Seconds for which a run goes on without its reader, and without one that ever came.
GONE_TIMEOUT, NEVER_TIMEOUT = 10.0, 60.0
#: Seconds between two looks at the reader of a run that has nothing to emit, and of one that waits for it.
LOOK_EVERY, WAIT_EVERY = 2.0, 0.5
#: Seconds before the first such look of a run that begins to wait: a notice may get lost.
WAIT_FIRST = 0.05
#: Seconds for which items are kept at least.
LEAST_TTL = 60.0
#: Seconds after which a thread that no signal interrupts looks whether its run is to end.
POLL_INTERVAL = 0.1


class Outlets:
    """The open outlets of one worker.

    Args:
        sealer: seals items.
        end: ends a run as if its job had been cancelled: its reader is gone, or the job is not the worker's any more.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        *,
        sealer: Sealer,
        serializer: Serializer,
        end: Callable[[Run], None],
    ) -> None:
        self._broker = broker
        self._membership = membership
        self.sealer = sealer
        self.serializer = serializer
        self.end = end
        self._open: dict[str, _Outlet] = {}

    def open(self, run: Run, loop: asyncio.AbstractEventLoop) -> _Outlet:
        """The outlet of a run, in the worker's loop or in the thread of the run."""
        outlet = _Outlet(self, run, loop)
        loop.call_soon_threadsafe(outlet.begin)
        self._open[run.job.id] = outlet
        return outlet

    def close(self, outlet: _Outlet) -> None:
        if self._open.get(outlet.run.job.id) is outlet:
            del self._open[outlet.run.job.id]

    def heard(self, id: str) -> None:
        """The broker says that there is news of a job: perhaps its reader has read on."""
        if (outlet := self._open.get(id)) is not None:
            outlet.wake()

    async def emit(self, item: Emit) -> Emitted:
        return await streams_of(self._broker).emit(self._membership.incarnation, item)


class _Outlet:
    """The items of one run on their way to the broker. One asyncio task of the worker's loop sends them."""

    def __init__(self, outlets: Outlets, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self.run = run
        self._outlets = outlets
        self._loop = loop
        self._ttl = max(run.job.result_ttl, LEAST_TTL)
        #: Whether no reader can come: the items are dropped.
        self._is_dropping = run.task.ignore_result
        #: Items that were not sent, and the number of the first of them.
        self._rows: deque[bytes] = deque()
        self._first = 1
        self.count = 0
        #: Sizes of the items that are not taken, by their numbers in order.
        self._sizes: deque[tuple[int, int]] = deque()
        self._unread_bytes = self._unsent_bytes = 0
        self._last = self._taken = 0
        self._began = time.monotonic()
        self._patience = WAIT_FIRST
        self._gone_since: float | None = None
        self._is_awake = asyncio.Event()
        #: Set when the broker has answered: for the run in the loop, and for one in a thread.
        self._moved = asyncio.Event()
        self._moved_for_thread = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    # ---- for the run

    def add(self, value: object) -> None:
        """Append an item that the run has yielded."""
        serializer, task = self._outlets.serializer, self.run.task
        try:
            body = serializer.dump_value(value, task.function)
        except Exception as error:
            raise blame_value(serializer, task.name, value, error) from error
        self.count += 1
        if self._is_dropping:
            return
        sealed = seal_item(self._outlets.sealer, self.run.job.id, self.count, body)
        self._sizes.append((self.count, len(sealed)))
        self._unread_bytes += len(sealed)
        self._unsent_bytes += len(sealed)
        self._rows.append(sealed)

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits to be sent that the run has to wait for the broker."""
        return len(self._rows) >= FLUSH_ITEMS or self._unsent_bytes >= FLUSH_BYTES

    @property
    def is_full(self) -> bool:
        """Whether so much is unread that the run has to wait for its reader."""
        unread = self.count - self._taken
        return not self._is_dropping and (unread >= WINDOW_ITEMS or (unread > 0 and self._unread_bytes >= WINDOW_BYTES))

    async def put(self, value: object) -> None:
        """Append an item, in the loop; return when the run may make another one."""
        self.add(value)
        self.wake()
        while self.is_crowded:
            await self._move()
        if self.is_full:
            # The seat is free meanwhile.
            await unseated(self._room())

    async def _room(self) -> None:
        while self.is_full:
            await self._move()

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def drain(self) -> None:
        """Return when the broker has every item: the outcome comes after them."""
        while self._rows:
            self.wake()
            await self._move()

    def put_in_thread(self, value: object) -> None:
        """As ``put``, in the thread of a sync run, which waits here."""
        self.add(value)
        self._loop.call_soon_threadsafe(self.wake)
        self._end_in_thread()
        while self.is_crowded or self.is_full:
            self._wait_in_thread()

    def drain_in_thread(self) -> None:
        while self._rows:
            self._loop.call_soon_threadsafe(self.wake)
            self._wait_in_thread()

    def _wait_in_thread(self) -> None:
        self._moved_for_thread.wait(POLL_INTERVAL)
        self._moved_for_thread.clear()
        self._end_in_thread()

    def _end_in_thread(self) -> None:
        """Raise Interrupted if the run is to end and no signal interrupts its thread."""
        run = self.run
        if threading.current_thread() is not threading.main_thread() and (
            run.cancelled or (run.timeout is not None and time.monotonic() - run.started_mono > run.timeout)
        ):
            raise Interrupted

    def close(self) -> None:
        """Nothing more is sent; from any thread."""
        self._is_closed = True
        self._outlets.close(self)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.wake)

    # ---- in the loop

    def begin(self) -> None:
        if not self._is_dropping:
            self._task = agent(self._serve())

    def wake(self) -> None:
        self._is_awake.set()

    async def _serve(self) -> None:
        delay = BrokerDelay()
        while not self._is_closed:
            items = self._next()
            try:
                answer = await self._outlets.emit(
                    Emit(self.run.delivery, self._first, items, self._ttl, waits=not items and self.is_full)
                )
            except ConnectionLost:
                await delay.wait()
            except BrokerError:
                # A full server, for example: the run waits with it.
                await delay.wait()
            else:
                delay.reset()
                self._sent(items, answer)
                if self._is_closed:
                    return
                if not answer.yours:
                    # It might never end by itself, and what it yields is of no use.
                    self._end()
                    return
                self._judge(answer.reader)
                if not self._rows:
                    await self._pause(idle=bool(items))

    def _next(self) -> list[bytes]:
        items: list[bytes] = []
        size = 0
        for sealed in list(self._rows):
            items.append(sealed)
            size += len(sealed)
            if len(items) == FLUSH_ITEMS or size >= FLUSH_BYTES:
                break
        return items

    def _sent(self, items: list[bytes], answer: Emitted) -> None:
        for sealed in items:
            self._rows.popleft()
            self._first += 1
            self._unsent_bytes -= len(sealed)
        if not answer.yours:
            # Another worker has the job, or it is no more.
            self._is_dropping = True
            self._rows.clear()
            self._unsent_bytes = 0
        while self._rows and self._first <= answer.last:
            # An earlier run of the job has emitted them.
            self._unsent_bytes -= len(self._rows.popleft())
            self._first += 1
        self._patience = WAIT_FIRST if answer.taken > self._taken else min(2 * self._patience, WAIT_EVERY)
        self._last, self._taken = answer.last, answer.taken
        while self._sizes and self._sizes[0][0] <= self._taken:
            self._unread_bytes -= self._sizes.popleft()[1]
        self._moved.set()
        self._moved_for_thread.set()

    async def _pause(self, *, idle: bool) -> None:
        """Sleep until there are items, or it is time to look at the reader."""
        if idle and self.is_full:
            # The next call asks for a notice when the reader goes on.
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience if self.is_full else LOOK_EVERY):
                await self._is_awake.wait()
        self._is_awake.clear()

    def _judge(self, reader: Reader) -> None:
        """End the run if its reader is gone for good."""
        now = time.monotonic()
        if reader is Reader.HERE:
            self._gone_since = None
        elif reader is Reader.NEVER:
            self._end_after(now - self._began, NEVER_TIMEOUT)
        else:
            self._gone_since = self._gone_since or now
            self._end_after(now - self._gone_since, GONE_TIMEOUT)

    def _end_after(self, seconds: float, limit: float) -> None:
        if seconds > limit:
            self._end()

    def _end(self) -> None:
        if not self.run.cancelled:
            self._outlets.end(self.run)


def _outlet_of(run: Run, loop: asyncio.AbstractEventLoop) -> _Outlet:
    if run.flow is not None:
        raise ConfigError(
            f'"{run.task.name}" is a generator, and the items of a stream cannot be the value that another call takes: '
            "write a task that returns the list."
        )
    assert run.owner is not None and run.owner.outlets is not None
    outlet: _Outlet = run.owner.outlets.open(run, loop)
    return outlet


def stream_async(run: Run) -> Callable[..., Coroutine[Any, Any, int]]:
    """A function that emits what the async generator of the run yields, and returns the number of items."""

    async def stream(*args: Any, **kwargs: Any) -> int:
        generator: AsyncGenerator[Any, None] = run.task.function(*args, **kwargs)
        outlet = _outlet_of(run, asyncio.get_running_loop())
        try:
            try:
                async for item in generator:
                    await outlet.put(item)
            except Exception:
                # What came before the error is the reader's.
                await outlet.drain()
                raise
            finally:
                # One that is cancelled at its ``yield`` has not heard of it.
                await generator.aclose()
            await outlet.drain()
        finally:
            outlet.close()
        return outlet.count

    return stream


def stream_sync(run: Run) -> Callable[..., int]:
    """The same for a generator, step by step in the thread of the run."""

    def stream(*args: Any, **kwargs: Any) -> int:
        assert run.owner is not None and run.owner.scope.loop is not None
        generator: Generator[Any, None, None] = run.task.function(*args, **kwargs)
        outlet = _outlet_of(run, run.owner.scope.loop)
        try:
            try:
                for item in generator:
                    outlet.put_in_thread(item)
            except Interrupted:
                raise
            except Exception:
                outlet.drain_in_thread()
                raise
            finally:
                generator.close()
            outlet.drain_in_thread()
        finally:
            outlet.close()
        return outlet.count

    return stream
