"""Jobs on their way to the broker: handed over at once, sent in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import islice

from .backpressure import Backpressure, WhenFull
from .broker import BATCH_BYTES, BATCH_JOBS, BATCH_ROW, Broker, Finish, Overflow, Push, Room
from .errorform import copy_error
from .errors import BrokerError, ConnectionLost, QueueFull
from .hold import Hold

__all__ = ["HIGH_WATER", "Outbox"]

#: Jobs waiting to be sent above which ``sent()`` waits anyway and a thread without a loop is blocked.
HIGH_WATER = 10_000
#: Seconds for which a send is tried before it fails.
PATIENCE = 4.0
#: Refused jobs whose reason is kept for who asks later: those of whole batches as one, and single ones.
_BATCHES, _SINGLE = 1_000, 100_000

logger = logging.getLogger("aiotask.client")

_Watcher = tuple[int, int, "asyncio.Future[None]"]


class Outbox:
    """What one client session has handed over and the broker has not accepted yet.

    It knows no loop and no connection: whoever flushes it brings a broker. The batch under way keeps
    its sequence until it is accepted, so that it is sent again safely, by this loop, by another one,
    or at interpreter exit. What finds its queue full and may wait is held here, and tried again.

    Args:
        refused: told about jobs that will not be sent; says whether somebody waits for them.
        backpressure: limits of queues, if there are any.
    """

    def __init__(
        self, client: str, refused: Callable[[list[str], Exception], bool], backpressure: Backpressure | None = None
    ) -> None:
        self.client = client
        self._on_refused = refused
        self._backpressure = backpressure
        #: What is sent along with the batch under way: limits, and jobs that make room for it.
        self.room: Room | None = backpressure.room if backpressure else None
        self.drop: list[Finish] = []
        self.sequence = 0
        self.waiting: deque[Push] = deque()
        self.flying: list[Push] = []
        #: Batches that were sent along behind it, with the next sequences.
        self._behind: deque[list[Push]] = deque()
        #: Tickets of the batch under way, where they are not simply the next ones.
        self._tickets: list[int] | None = None
        #: Jobs handed over, jobs taken into a batch, and jobs settled (accepted, refused or held), since the beginning.
        self.handed = 0
        self._taken = 0
        self.settled = 0
        #: Jobs that wait for room, by ticket.
        self.held: dict[int, Push] = {}
        self.hold = Hold()
        self._refused: deque[tuple[int, int, Exception]] = deque(maxlen=_BATCHES)
        self._refused_singly: dict[int, Exception] = {}
        #: Who waits for a ticket, of any loop; a heap. The number in the middle keeps futures from being compared.
        self._watchers: list[_Watcher] = []
        #: Those of them whose job waits for room.
        self._patient: list[_Watcher] = []
        self._watched = itertools.count()

    def put(self, push: Push) -> int:
        """Hand a job over; its ticket, the number it has here."""
        self.waiting.append(push)
        self.handed += 1
        return self.handed

    @property
    def empty(self) -> bool:
        return not self.flying and not self.waiting and not self._behind and not self.held

    @property
    def crowded(self) -> bool:
        """More waits here than should."""
        return len(self.waiting) + len(self.held) > HIGH_WATER

    def is_settled(self, ticket: int) -> bool:
        """Whether this job is with the broker, or was refused."""
        return ticket <= self.settled and ticket not in self.held

    def is_unsent(self, ticket: int) -> bool:
        """Whether this job has been in no attempt to send yet."""
        return not self.held and ticket > self._taken + sum(map(len, self._behind))

    # ---- batches

    def next_batch(self, *, now: bool = False) -> list[Push]:
        """The batch under way, or else the next one of at most BATCH_JOBS and BATCH_BYTES.

        Args:
            now: those that wait for room do not wait any longer.
        """
        if not self.flying and self.held and (now or self.hold.is_over):
            tickets = list(islice(self.held, BATCH_JOBS))
            self._tickets = tickets[: _fitting(self.held.values())]
            self.flying = [self.held[ticket] for ticket in self._tickets]
            self.sequence += 1
        while not self.flying and (self._behind or self.waiting):
            self.flying = self._behind.popleft() if self._behind else self._take()
            self._taken += len(self.flying)
            if self.held:
                self._hold_behind_others()
            self.sequence += bool(self.flying)
        return self.flying

    def _take(self) -> list[Push]:
        # Another thread may hand over between any two steps, which breaks an iteration over what waits.
        batch = [self.waiting.popleft() for _ in range(min(len(self.waiting), BATCH_JOBS))]
        fitting = _fitting(batch)
        self.waiting.extendleft(reversed(batch[fitting:]))
        del batch[fitting:]
        return batch

    def _fill_row(self) -> None:
        """Put what waits behind the batch under way, unless one may have to wait for room or is too large in itself."""
        if self.room is not None or _is_huge(self.flying):
            return
        while self.waiting and len(self._behind) < BATCH_ROW - 1:
            if len(self.waiting[0].sealed) > BATCH_BYTES:
                return
            self._behind.append(self._take())

    def _hold_behind_others(self) -> None:
        """What goes to a full queue stands behind those that wait for room there."""
        full = {push.queue for push in self.held.values()}
        numbered = list(enumerate(self.flying, self.settled + 1))
        self.held |= {ticket: push for ticket, push in numbered if push.queue in full}
        self._tickets = [ticket for ticket, push in numbered if push.queue not in full]
        self.flying = [push for push in self.flying if push.queue not in full]
        if not self.flying:
            self._land()

    async def flush(self, broker: Broker) -> None:
        """Send until nothing waits. A batch that cannot be sent is refused, and said by whoever waits for it."""
        began: float | None = None
        delay, doubt = 0.05, False
        while not self.empty:
            batch = self.next_batch()
            if not batch:
                await self.hold.rest(self.held.values())
                continue
            began = began or time.monotonic()
            try:
                overflow = await self._send(broker, batch)
            except ConnectionLost as error:
                if time.monotonic() - began + delay > PATIENCE:
                    # Whatever else waits would fail in the same way, each after its own patience.
                    self.refuse_all(error)
                    return
                doubt = True
                await asyncio.sleep(delay)
                delay = min(delay * 2, 0.5)
            except BrokerError as error:
                # What refuses us now may not have done so when the answer got lost.
                self.refuse(ConnectionLost(f"{error} An earlier attempt may have got through.") if doubt else error)
                doubt = False
            else:
                began, delay, doubt = None, 0.05, False
                self.accept(overflow)

    async def _send(self, broker: Broker, batch: list[Push]) -> Overflow | None:
        """Send the batch under way, and those behind it."""
        self._fill_row()
        if not self._behind:
            return await broker.push(self.client, self.sequence, batch, self.room, self.drop)
        for _ in range(1, await broker.push_row(self.client, self.sequence, [batch, *self._behind])):
            self.accept()
            self.next_batch()
        return None

    def _land(self) -> list[tuple[int, Push]]:
        """The batch under way is under way no more; its jobs with their tickets."""
        tickets = self._tickets if self._tickets is not None else range(self.settled + 1, self._taken + 1)
        landed = list(zip(tickets, self.flying, strict=True))
        self.settled, self.flying, self._tickets, self.drop = self._taken, [], None, []
        return landed

    def accept(self, overflow: Overflow | None = None, *, final: bool = False) -> None:
        """The batch under way is with the broker, but for what had no room.

        Args:
            final: nothing can wait any longer.
        """
        if overflow is None and self._tickets is None:
            self.settled, self.flying, self.drop = self._taken, [], []
            self._tell()
            return
        full = set(overflow.full) if overflow is not None else set()
        landed = self._land()
        lacking = {ticket: push for ticket, push in landed if push.id in full}
        for ticket, _ in landed:
            if ticket not in lacking and self.held.pop(ticket, None) is not None:
                self.hold.reset()
        if lacking and overflow is not None:
            self._find_room(lacking, overflow, final=final)
        self._tell()

    def _find_room(self, lacking: dict[int, Push], overflow: Overflow, *, final: bool) -> None:
        assert self._backpressure is not None
        when_full = self._backpressure.when_full
        if when_full is WhenFull.REJECT or (final and not overflow.oldest):
            self._refuse_singly({ticket: self._backpressure.refusal(push) for ticket, push in lacking.items()}, lacking)
            return
        self.held |= lacking
        if overflow.oldest:
            self._tickets, self.flying = list(lacking), list(lacking.values())
            self.drop = self._backpressure.dropped(overflow.oldest)
            self.sequence += 1
        else:
            self.hold.again()

    # ---- what is not sent

    def refuse(self, error: Exception) -> None:
        """The batch under way will not be sent."""
        if self._tickets is not None:
            landed = dict(self._land())
            self._refuse_singly(dict.fromkeys(landed, error), landed)
            self._tell()
            return
        first = self.settled + 1
        self._refused.append((first, self._taken, error))
        self._complain([push.id for _, push in self._land()], error)

    def refuse_all(self, error: Exception) -> None:
        """Nothing that is here will be sent."""
        while self.next_batch(now=True):
            self.refuse(error)

    def _refuse_singly(self, errors: dict[int, Exception] | dict[int, QueueFull], pushes: dict[int, Push]) -> None:
        unsaid: list[tuple[str, Exception]] = []
        for ticket, error in errors.items():
            self.held.pop(ticket, None)
            self._refused_singly[ticket] = error
            if not self._on_refused([pushes[ticket].id], error):
                unsaid.append((pushes[ticket].id, error))
        while len(self._refused_singly) > _SINGLE:
            del self._refused_singly[next(iter(self._refused_singly))]
        if unsaid and len(unsaid) == len(errors):
            self._complain([id for id, _ in unsaid], unsaid[0][1], awaited=False)

    def _complain(self, ids: list[str], error: Exception, *, awaited: bool | None = None) -> None:
        """Say it to who waits, or else in the log."""
        awaited = self._on_refused(ids, error) if awaited is None else awaited
        if not self._tell() and not awaited:
            count = f"{len(ids):,} job{'' if len(ids) == 1 else 's'}"
            logger.error("%s not sent (first: %s): %s", count, ids[0] if ids else "", error)

    def withdraw(self, ticket: int, error: Exception) -> bool:
        """Take back a job that waits for room: it will not be sent. False: it does not wait for that just now."""
        if ticket not in self.held or ticket in (self._tickets or ()):
            return False
        push = self.held.pop(ticket)
        self._refused_singly[ticket] = error
        self._on_refused([push.id], error)
        self._tell()
        return True

    def error_of(self, ticket: int) -> Exception | None:
        """Why the job with this ticket was refused."""
        if self._refused_singly and (error := self._refused_singly.get(ticket)) is not None:
            return error
        for first, last, error in self._refused:
            if first <= ticket <= last:
                return error
        return None

    # ---- who waits

    async def accepted(self, ticket: int) -> None:
        """Return once this job is with the broker; raise why it is not."""
        if not self.is_settled(ticket):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heappush(self._watchers, (ticket, next(self._watched), future))
            if self.is_settled(ticket):
                # Meanwhile, by another thread, which may have looked before this future was there.
                _release(future)
            await future
        error = self.error_of(ticket)
        if error is not None:
            raise copy_error(error)

    def _tell(self) -> bool:
        """Wake who waits for a settled ticket; whether there was anybody."""
        told = False
        if self._patient:
            patient, self._patient = self._patient, []
            for watcher in patient:
                heappush(self._watchers, watcher)
        while self._watchers and self._watchers[0][0] <= self.settled:
            watcher = heappop(self._watchers)
            if watcher[0] in self.held:
                self._patient.append(watcher)
                continue
            _wake(watcher[2])
            told = True
        return told


def _fitting(pushes: Iterable[Push]) -> int:
    """How many of these, from the first one on, go into one batch."""
    size = count = 0
    for push in islice(pushes, BATCH_JOBS):
        size += len(push.sealed)
        if count and size > BATCH_BYTES:
            break
        count += 1
    return count


def _is_huge(batch: list[Push]) -> bool:
    return len(batch) == 1 and len(batch[0].sealed) > BATCH_BYTES


def _wake(future: asyncio.Future[None]) -> None:
    loop = future.get_loop()
    if loop is asyncio._get_running_loop():
        _release(future)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_release, future)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
