"""The jobs that one client session has handed over, and the batches in which they are sent."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from itertools import islice, repeat
from typing import TYPE_CHECKING

from ..broker import BATCH_BYTES, BATCH_JOBS, BATCH_ROW, Finish, Push, Room
from .backpressure import RoomRetry
from .fitting import fitting
from .handed_over import limits_of

__all__ = ["HIGH_WATER", "Batches"]

#: Number of jobs waiting to be sent above which ``sent()`` waits anyway and a thread without a loop is blocked.
HIGH_WATER = 10_000


class Batches:
    """The part of ``SendBuffer`` that takes jobs over, and makes batches of them.

    ``put`` takes no lock, since a signal handler or a finalizer may send in the middle of another send of the same
    thread. The rest is done by one sender at a time.

    Args:
        room: limits of queues; None: there are none.
    """

    def __init__(self, room: Room | None) -> None:
        #: What is sent along with the batch under way: limits of queues, and the ends of jobs that make room for it.
        self.room = room
        self.drop: list[Finish] = []
        self.sequence = 0
        #: Jobs that are in no batch yet, by ticket.
        self.waiting: dict[int, Push] = {}
        self.flying: list[Push] = []
        self.is_copy = False  # true in a forked child: the parent sends the jobs of this buffer
        self.is_answered = False  # some of its jobs are unique: each batch has an answer, so none is sent in a row
        #: Limits of which no job is sent, since the broker has refused them, and its error for each.
        self.barred: dict[str, Exception] = {}
        self._steps = threading.RLock()
        #: Batches that are sent in one row behind the batch under way, with the next sequences.
        self._behind: deque[list[Push]] = deque()
        #: Tickets of the batch under way; None: they are consecutive.
        self._tickets: list[int] | None = None
        self._numbers = itertools.count(1)
        #: The highest tickets that were taken into a batch, and that are settled (accepted, refused, or wait for room).
        self._taken = 0
        self.settled = 0
        #: Lower tickets that are not settled, of sends that were interrupted by another send between their two steps.
        self._missing: set[int] = set()
        #: Total numbers of jobs taken into a batch, and of jobs settled.
        self._taken_count = 0
        self.settled_count = 0
        #: Jobs that wait for room in their queue, by ticket.
        self.waiting_for_room: dict[int, Push] = {}
        self.room_retry = RoomRetry()

    if TYPE_CHECKING:

        def _refuse_singly(self, errors: Mapping[int, Exception], pushes: dict[int, Push]) -> None: ...

    def put(self, push: Push) -> int:
        """Hand a job over; return its ticket, a number in this buffer. For any thread, signal handler or finalizer."""
        ticket = next(self._numbers)
        self.waiting[ticket] = push
        return ticket

    @property
    def handed(self) -> int:
        """The total number of jobs handed over."""
        return self._taken_count + sum(map(len, self._behind)) + len(self.waiting)

    @property
    def empty(self) -> bool:
        return self.is_copy or (not self.flying and not self.waiting and not self._behind and not self.waiting_for_room)

    @property
    def is_sending(self) -> bool:
        """Whether jobs are on their way; those that wait for room are not."""
        return not self.is_copy and bool(self.flying or self.waiting or self._behind)

    @property
    def crowded(self) -> bool:
        return len(self.waiting) + len(self.waiting_for_room) > HIGH_WATER

    def is_settled(self, ticket: int) -> bool:
        """Whether this job was accepted or refused; always true in a forked child, since its parent sends the job."""
        return self.is_copy or self._was_settled(ticket)

    def _was_settled(self, ticket: int) -> bool:
        return ticket <= self.settled and ticket not in self.waiting_for_room and ticket not in self._missing

    def is_parents(self, ticket: int) -> bool:
        """Whether this process is a forked child whose parent still had to send this job."""
        return self.is_copy and not self._was_settled(ticket)

    def is_unsent(self, ticket: int) -> bool:
        """Whether no attempt was made to send this job yet."""
        return not self.waiting_for_room and ticket > self._taken + sum(map(len, self._behind))

    # ---- batches

    def next_batch(self, *, now: bool = False) -> list[Push]:
        """The batch under way, or else the next one of at most BATCH_JOBS and BATCH_BYTES.

        Args:
            now: jobs that wait for room are sent at once.
        """
        if not self.flying and self.waiting_for_room and (now or self.room_retry.is_due):
            tickets = list(islice(self.waiting_for_room, BATCH_JOBS))
            self._tickets = tickets[: fitting(self.waiting_for_room.values())]
            self.flying = [self.waiting_for_room[ticket] for ticket in self._tickets]
            self.sequence += 1
        while not self.flying and (self._behind or self.waiting):
            if self._behind:
                self.flying = self._behind.popleft()
                self._taken += len(self.flying)
            else:
                self._fly()
            self._taken_count += len(self.flying)
            if self.barred:
                self._turn_away_barred()
            if self.waiting_for_room and self.flying:
                self._queue_behind_others()
            self.sequence += bool(self.flying)
        return self.flying

    def _take(self, first: int) -> tuple[list[Push], list[int] | None]:
        """The next batch in the order of its tickets, and the tickets; None: they are consecutive from ``first`` on."""
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
        count = fitting(batch)
        waiting.update(zip((tickets or numbers)[count:], batch[count:], strict=True))
        return batch[:count], tickets and tickets[:count]

    def _fly(self) -> None:
        """Make a batch of waiting jobs the batch under way."""
        self.flying, self._tickets = self._take(self._taken + 1)
        if self._tickets is None:
            self._taken += len(self.flying)
            return
        before, self._taken = self._taken, max(self._taken, self._tickets[-1])
        self._missing.update(range(before + 1, self._taken + 1))

    def _fill_row(self) -> None:
        """Put waiting jobs in batches behind the one under way, unless queues have limits or a job exceeds a batch."""
        if self.room is not None or self.is_answered or self.barred or len(self.flying[0].sealed) > BATCH_BYTES:
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

    def _queue_behind_others(self) -> None:
        """Let jobs of the batch under way wait for room behind earlier jobs of the same queue."""
        full = {push.queue for push in self.waiting_for_room.values()}
        self.waiting_for_room |= self._take_off({n: push for n, push in self._numbered() if push.queue in full})

    def _turn_away_barred(self) -> None:
        """Refuse the jobs of the batch under way whose limits the broker has refused."""
        errors: dict[int, Exception] = {}
        found: dict[int, Push] = {}
        for ticket, push in self._numbered():
            if (name := next(filter(self.barred.__contains__, limits_of(push)), None)) is not None:
                errors[ticket], found[ticket] = self.barred[name], push
        if found:
            self._take_off(found)
            self._refuse_singly(errors, found)

    def _take_off(self, pushes: dict[int, Push]) -> dict[int, Push]:
        """Take these jobs, given by ticket, out of the batch under way."""
        if pushes:
            left = [(ticket, push) for ticket, push in self._numbered() if ticket not in pushes]
            self._tickets, self.flying = [ticket for ticket, _ in left], [push for _, push in left]
            if not left:
                self._land()
        return pushes

    def _numbered(self) -> list[tuple[int, Push]]:
        """The jobs of the batch under way with their tickets."""
        tickets = self._tickets if self._tickets is not None else range(self.settled + 1, self._taken + 1)
        return list(zip(tickets, self.flying, strict=True))

    def _land(self) -> list[tuple[int, Push]]:
        """End the batch under way; return its jobs with their tickets."""
        landed = self._numbered()
        if self._missing:
            self._missing.difference_update(ticket for ticket, _ in landed)
        self._landed()
        return landed

    def _landed(self) -> None:
        self.settled, self.settled_count = self._taken, self._taken_count
        self.flying, self._tickets, self.drop = [], None, []
