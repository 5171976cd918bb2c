"""Jobs on their way to the broker: handed over at once, sent in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice

from .broker import BATCH_BYTES, BATCH_JOBS, Broker, Push
from .errors import BrokerError, ConnectionLost

__all__ = ["HIGH_WATER", "Outbox"]

#: Jobs waiting to be sent above which ``sent()`` waits anyway and a thread without a loop is blocked.
HIGH_WATER = 10_000
#: Seconds for which a send is tried before it fails.
PATIENCE = 4.0

logger = logging.getLogger("aiotask.client")


class Outbox:
    """What one client session has handed over and the broker has not accepted yet.

    It knows no loop and no connection: whoever flushes it brings a broker. The batch under way keeps
    its sequence until it is accepted, so that it is sent again safely, by this loop, by another one,
    or at interpreter exit.
    """

    def __init__(self, client: str, refused: Callable[[list[str], Exception], bool]) -> None:
        self.client = client
        #: Told about jobs that will not be sent; says whether somebody waits for them.
        self._on_refused = refused
        self.sequence = 0
        self.waiting: deque[Push] = deque()
        self.flying: list[Push] = []
        #: Jobs handed over, and jobs settled (accepted or refused), since the beginning.
        self.handed = 0
        self.settled = 0
        self._refused: deque[tuple[int, int, Exception]] = deque(maxlen=1000)
        #: Who waits for a ticket, of any loop; a heap. The number in the middle keeps futures from being compared.
        self._watchers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._watched = itertools.count()

    def put(self, push: Push) -> int:
        """Hand a job over; its ticket, the number it has here."""
        self.waiting.append(push)
        self.handed += 1
        return self.handed

    @property
    def empty(self) -> bool:
        return not self.flying and not self.waiting

    def next_batch(self) -> list[Push]:
        """The batch under way, or else the next one of at most BATCH_JOBS and BATCH_BYTES."""
        if not self.flying and self.waiting:
            size, count = 0, 0
            for push in islice(self.waiting, BATCH_JOBS):
                size += len(push.sealed)
                if count and size > BATCH_BYTES:
                    break
                count += 1
            self.flying = [self.waiting.popleft() for _ in range(count)]
            self.sequence += 1
        return self.flying

    async def flush(self, broker: Broker) -> None:
        """Send until nothing waits. A batch that cannot be sent is refused, and said by whoever waits for it."""
        began: float | None = None
        delay = 0.05
        while batch := self.next_batch():
            began = began or time.monotonic()
            try:
                await broker.push(self.client, self.sequence, batch)
            except ConnectionLost as error:
                if time.monotonic() - began + delay > PATIENCE:
                    # Whatever else waits would fail in the same way, each after its own patience.
                    while self.next_batch():
                        self.refuse(error)
                    return
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
            except BrokerError as error:
                self.refuse(error)
            else:
                began, delay = None, 0.05
                self.accept()

    def accept(self) -> None:
        """The batch under way is with the broker."""
        self.settled += len(self.flying)
        self.flying = []
        self._tell()

    def refuse(self, error: Exception) -> None:
        """The batch under way will not be sent."""
        first = self.settled + 1
        self.settled += len(self.flying)
        self._refused.append((first, self.settled, error))
        ids = [push.id for push in self.flying]
        self.flying = []
        awaited = self._on_refused(ids, error)
        if not self._tell() and not awaited:
            count = f"{len(ids):,} job{'' if len(ids) == 1 else 's'}"
            logger.error("%s not sent (first: %s): %s", count, ids[0] if ids else "", error)

    def error_of(self, ticket: int) -> Exception | None:
        """Why the job with this ticket was refused."""
        for first, last, error in self._refused:
            if first <= ticket <= last:
                return error
        return None

    async def accepted(self, ticket: int) -> None:
        """Return once this job is with the broker; raise why it is not."""
        if ticket > self.settled:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heappush(self._watchers, (ticket, next(self._watched), future))
            if ticket <= self.settled:
                # Meanwhile, by another thread, which may have looked before this future was there.
                _release(future)
            await future
        error = self.error_of(ticket)
        if error is not None:
            raise _fresh(error)

    def _tell(self) -> bool:
        """Wake who waits for a settled ticket; whether there was anybody."""
        here, told = asyncio._get_running_loop(), False
        while self._watchers and self._watchers[0][0] <= self.settled:
            *_, future = heappop(self._watchers)
            loop = future.get_loop()
            if loop is here:
                _release(future)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_release, future)
            told = True
        return told


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fresh(error: Exception) -> Exception:
    """A copy, since one exception object raised twice grows its traceback."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
