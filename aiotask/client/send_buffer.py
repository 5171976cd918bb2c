"""Jobs on their way to the broker: handed over at once, sent in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice, repeat

from ..broker import BATCH_BYTES, BATCH_JOBS, BATCH_ROW, Broker, Finish, Overflow, Push, Room
from ..errors import AiotaskError, BrokerError, ConnectionLost, QueueFull
from ..wire.error_form import copy_error
from .backpressure import Backpressure, Hold, WhenFull
from .refusals import Refusals
from .watchers import Watchers

__all__ = ["HIGH_WATER", "Outbox"]

#: Jobs waiting to be sent above which ``sent()`` waits anyway and a thread without a loop is blocked.
HIGH_WATER = 10_000
#: Seconds for which a send is tried before it fails.
PATIENCE = 4.0
_sealed = operator.attrgetter("sealed")

logger = logging.getLogger("aiotask.client")


class Outbox:
    """What one client session has handed over and the broker has not accepted yet.

    It knows no loop and no connection: the session that flushes it brings a broker. The batch under way keeps
    its sequence until it is accepted, so that it is sent again safely, by this loop, by another one,
    or at interpreter exit. What finds its queue full and may wait is held here, and tried again.

    ``put`` takes no lock, since a signal handler or a finalizer may send in the middle of another send of the same
    thread. The rest is done by one sender at a time: the latest ``flush`` takes over from an earlier one, which
    returns at its next step.

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
        #: By ticket.
        self.waiting: dict[int, Push] = {}
        self.flying: list[Push] = []
        #: It was copied into a forked child: the parent sends what is here.
        self.is_copy = False
        self._steps = threading.RLock()
        self._sender: object = None
        #: Batches that were sent along behind it, with the next sequences.
        self._behind: deque[list[Push]] = deque()
        #: Tickets of the batch under way, where they are not simply the next ones.
        self._tickets: list[int] | None = None
        self._numbers = itertools.count(1)
        #: The highest tickets that were taken into a batch, and that are settled (accepted, refused or held).
        self._taken = 0
        self.settled = 0
        #: Lower tickets that are not settled: a send that was interrupted by another one between its two steps.
        self._missing: set[int] = set()
        #: Jobs taken into a batch, and jobs settled, since the beginning.
        self._taken_count = 0
        self.settled_count = 0
        #: Jobs that wait for room, by ticket.
        self.held: dict[int, Push] = {}
        self.hold = Hold()
        self._refusals = Refusals()
        self._watchers = Watchers(self.is_settled)

    def put(self, push: Push) -> int:
        """Hand a job over; its ticket, the number it has here. Any thread, signal handler or finalizer may call it."""
        ticket = next(self._numbers)
        self.waiting[ticket] = push
        return ticket

    @property
    def handed(self) -> int:
        """How many jobs were handed over since the beginning."""
        return self._taken_count + sum(map(len, self._behind)) + len(self.waiting)

    @property
    def empty(self) -> bool:
        return self.is_copy or (not self.flying and not self.waiting and not self._behind and not self.held)

    @property
    def crowded(self) -> bool:
        return len(self.waiting) + len(self.held) > HIGH_WATER

    def is_settled(self, ticket: int) -> bool:
        """Whether this job is with the broker, or was refused; in a forked child it is the parent that knows."""
        return self.is_copy or self._was_settled(ticket)

    def _was_settled(self, ticket: int) -> bool:
        return ticket <= self.settled and ticket not in self.held and ticket not in self._missing

    def is_parents(self, ticket: int) -> bool:
        """Whether this process is a forked child, and its parent still had to send this job."""
        return self.is_copy and not self._was_settled(ticket)

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
            if self._behind:
                self.flying = self._behind.popleft()
                self._taken += len(self.flying)
            else:
                self._fly()
            self._taken_count += len(self.flying)
            if self.held:
                self._hold_behind_others()
            self.sequence += bool(self.flying)
        return self.flying

    def _take(self, first: int) -> tuple[list[Push], list[int] | None]:
        """The next batch in the order of its tickets; and these, where they are not simply those from ``first`` on."""
        waiting = self.waiting
        numbers = range(first, first + min(len(waiting), BATCH_JOBS))
        tickets: list[int] | None = None
        # Another thread may hand over between any two lines, and a signal handler even in the middle of one.
        found = list(map(waiting.pop, numbers, repeat(None)))
        batch = [push for push in found if push is not None]
        if len(batch) < len(found) or any(map(waiting.__contains__, self._missing)):
            # A send was interrupted by another one between its two steps.
            waiting.update((number, push) for number, push in zip(numbers, found, strict=True) if push is not None)
            tickets = sorted(waiting)[:BATCH_JOBS]
            batch = list(map(waiting.pop, tickets))
        fitting = _fitting(batch)
        waiting.update(zip((tickets or numbers)[fitting:], batch[fitting:], strict=True))
        return batch[:fitting], tickets and tickets[:fitting]

    def _fly(self) -> None:
        """Make what waits the batch under way, as far as it fits into one."""
        self.flying, self._tickets = self._take(self._taken + 1)
        if self._tickets is None:
            self._taken += len(self.flying)
            return
        before, self._taken = self._taken, max(self._taken, self._tickets[-1])
        self._missing.update(range(before + 1, self._taken + 1))

    def _fill_row(self) -> None:
        """Put what waits behind the batch under way, unless one may have to wait for room or is too large in itself."""
        if self.room is not None or len(self.flying[0].sealed) > BATCH_BYTES:
            return
        next_one = self._taken + sum(map(len, self._behind)) + 1
        while len(self._behind) < BATCH_ROW - 1:
            push = self.waiting.get(next_one)
            if push is None or len(push.sealed) > BATCH_BYTES:
                return
            batch, tickets = self._take(next_one)
            if tickets is not None:
                self.waiting.update(zip(tickets, batch, strict=True))
                return
            self._behind.append(batch)
            next_one += len(batch)

    def _hold_behind_others(self) -> None:
        """What goes to a full queue stands behind those that wait for room there."""
        full = {push.queue for push in self.held.values()}
        numbered = self._numbered()
        self.held |= {ticket: push for ticket, push in numbered if push.queue in full}
        self._tickets = [ticket for ticket, push in numbered if push.queue not in full]
        self.flying = [push for push in self.flying if push.queue not in full]
        if not self.flying:
            self._land()

    async def flush(self, broker: Broker) -> None:
        """Send until nothing waits. A batch that cannot be sent is refused; the callers that await it get the error."""
        me = self.take_over()
        began: float | None = None
        delay, doubt = 0.05, False
        while not self.empty:
            with self._steps:
                if self._sender is not me:
                    return
                batch = self.next_batch()
                if batch:
                    self._fill_row()
            if not batch:
                await self.hold.rest(self.held.values())
                continue
            began = began or time.monotonic()
            try:
                overflow, accepted = await self._send(broker, batch)
            except ConnectionLost as error:
                if self._sender is not me:
                    return
                if time.monotonic() - began + delay > PATIENCE:
                    # Whatever else waits would fail in the same way, each after its own patience.
                    self._step(me, partial(self.refuse_all, error))
                    return
                await asyncio.sleep(delay)
                doubt, delay = True, min(delay * 2, 0.5)
            except BrokerError as error:
                # What refuses us now may not have done so when the answer got lost.
                error = ConnectionLost(f"{error} An earlier attempt may have succeeded.") if doubt else error
                self._step(me, partial(self.refuse, error))
                doubt = False
            else:
                began, delay, doubt = None, 0.05, False
                self._step(me, partial(self._accept_row, overflow, accepted))

    def flush_blocking(self, push: Callable[[Outbox, list[Push]], Overflow | None]) -> None:
        """The same for code without an event loop, in one attempt; what cannot be sent is refused."""
        me = self.take_over()
        while True:
            with self._steps:
                batch = self.next_batch(now=True) if self._sender is me and not self.empty else []
            if not batch:
                return
            try:
                overflow = push(self, batch)
            except AiotaskError as error:
                self._step(me, partial(self.refuse_all, error))
            else:
                self._step(me, partial(self.accept, overflow, final=True))

    def take_over(self) -> object:
        """Become the one sender, in place of one that may stand still in another loop; the mark of this turn."""
        me = object()
        with self._steps:
            self._sender = me
        return me

    def _step(self, sender: object, step: Callable[[], None]) -> None:
        """Do it if this is still the sender; another one sends the batch under way again, with its sequence."""
        with self._steps:
            if self._sender is sender:
                step()

    async def _send(self, broker: Broker, batch: list[Push]) -> tuple[Overflow | None, int]:
        """Send the batch under way, and those behind it; what had no room, and how many are accepted."""
        if not self._behind:
            return await broker.push(self.client, self.sequence, batch, self.room, self.drop), 1
        return None, await broker.push_row(self.client, self.sequence, [batch, *self._behind])

    def _accept_row(self, overflow: Overflow | None, accepted: int) -> None:
        for _ in range(1, accepted):
            self.accept()
            self.next_batch()
        self.accept(overflow)

    def _numbered(self) -> list[tuple[int, Push]]:
        """The batch under way with its tickets."""
        tickets = self._tickets if self._tickets is not None else range(self.settled + 1, self._taken + 1)
        return list(zip(tickets, self.flying, strict=True))

    def _land(self) -> list[tuple[int, Push]]:
        """The batch under way is under way no more; its jobs with their tickets."""
        landed = self._numbered()
        if self._missing:
            self._missing.difference_update(ticket for ticket, _ in landed)
        self._landed()
        return landed

    def _landed(self) -> None:
        self.settled, self.settled_count = self._taken, self._taken_count
        self.flying, self._tickets, self.drop = [], None, []

    def accept(self, overflow: Overflow | None = None, *, final: bool = False) -> None:
        """The batch under way is with the broker, but for what had no room.

        Args:
            final: nothing can wait any longer.
        """
        if overflow is None and self._tickets is None:
            self._landed()
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
        self._refusals.add_batch(self.settled + 1, self._taken, error)
        self._complain([push.id for _, push in self._land()], error)

    def refuse_all(self, error: Exception) -> None:
        """Nothing that is here will be sent."""
        with self._steps:
            while self.next_batch(now=True):
                self.refuse(error)

    def _refuse_singly(self, errors: dict[int, Exception] | dict[int, QueueFull], pushes: dict[int, Push]) -> None:
        unsaid: list[tuple[str, Exception]] = []
        self._refusals.add(errors.items())
        for ticket, error in errors.items():
            self.held.pop(ticket, None)
            if not self._on_refused([pushes[ticket].id], error):
                unsaid.append((pushes[ticket].id, error))
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
        with self._steps:
            if self.is_copy or ticket not in self.held or ticket in (self._tickets or ()):
                return False
            push = self.held.pop(ticket)
            self._missing.discard(ticket)
            self._refusals.add([(ticket, error)])
            self._on_refused([push.id], error)
            self._tell()
            return True

    def error_of(self, ticket: int) -> Exception | None:
        """Why the job with this ticket was refused."""
        return self._refusals.of(ticket)

    # ---- who waits

    async def accepted(self, ticket: int) -> None:
        """Return once this job is with the broker; raise why it is not."""
        if not self.is_settled(ticket):
            await self._watchers.settled(ticket)
        error = self.error_of(ticket)
        if error is not None:
            raise copy_error(error)

    def _tell(self) -> bool:
        """Wake the callers that wait for a settled ticket; whether there was one."""
        return self._watchers.tell(self.settled)


def _fitting(pushes: Collection[Push]) -> int:
    """How many of these, from the first one on, go into one batch."""
    if len(pushes) <= BATCH_JOBS and sum(map(len, map(_sealed, pushes))) <= BATCH_BYTES:
        return len(pushes)
    size = count = 0
    for push in islice(pushes, BATCH_JOBS):
        size += len(push.sealed)
        if count and size > BATCH_BYTES:
            break
        count += 1
    return count
