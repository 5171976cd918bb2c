"""Handles on unique jobs, which follow the broker to the job that theirs is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..errors import JobExists, SealError, about
from ..outcome import Outcome
from ..results.result import AsyncResult
from ..values.unique import is_same_key, is_unique
from .hearers import Hearers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..broker import JobState, Push

__all__ = [
    "Arrival",
    "Following",
    "Known",
    "Wait",
    "Waiter",
    "drop_known",
    "exists",
    "no_handle",
    "refusals",
    "stranger",
]

#: Ids that are remembered of jobs that have turned out to be others.
_MOVED = 10_000

Arrival = Outcome | Exception
Waiter = Callable[[Arrival], None]
#: Called with the ids of jobs that are others, and the ids of these.
Known = Callable[[Mapping[str, str]], None]


class Wait:
    """The waiters of one job, and what polls for it have found."""

    __slots__ = ("began", "doubts", "foreign", "misses", "result", "since", "waited", "waiters")

    def __init__(self, result: AsyncResult[Any], waiter: Waiter) -> None:
        self.result = result
        self.waiters = [waiter]
        #: The job was not sent from here, or has an id that another sender may use too.
        self.foreign = False
        #: When the job was polled last (monotonic), else when its wait began.
        self.since = self.began = time.monotonic()
        self.misses = self.doubts = 0
        #: Polls that have found it waiting for other jobs.
        self.waited = 0


class Following:
    """The part of ``Mailbox`` that moves what is known of one id to another."""

    _waits: dict[str, Wait]
    _handles: dict[str, ref[AsyncResult[Any]]]
    _to_poll: dict[str, None]
    _poll_now: asyncio.Event
    hearers: Hearers

    if TYPE_CHECKING:

        def fail(self, ids: Iterable[str], error: Exception) -> bool: ...

    def __init__(self) -> None:
        #: Ids of jobs that have turned out to be others, and the ids of these.
        self._moved: dict[str, str] = {}

    def follow(self, id: str, other: str) -> None:
        """The job with an id is the one with another id: handles on it become handles on that one."""
        if not is_same_key(id, other):
            self.fail([id], stranger(id, other))
            return
        self._moved[id] = other
        if len(self._moved) > _MOVED:
            del self._moved[next(iter(self._moved))]
        self.hearers.move(id, other)
        handle = self._handles.pop(id, no_handle)()
        if handle is not None:
            handle.id, handle.shared = other, True
            self._handles.setdefault(other, ref(handle))
        wait = self._waits.pop(id, None)
        self._to_poll.pop(id, None)
        if wait is None:
            return
        wait.result.id, wait.misses = other, 0
        there = self._waits.setdefault(other, wait)
        if there is not wait:
            there.waiters += wait.waiters
        there.foreign = True
        self._to_poll[other] = None
        self._poll_now.set()

    def id_of(self, id: str) -> str:
        """The id of the job that the one with this id is, as far as it is known here."""
        while id in self._moved:
            id = self._moved[id]
        return id

    def follow_state(self, id: str, state: JobState) -> bool:
        """Follow what the broker says of an id; False: it says of no other job."""
        if state.same:
            self.follow(id, state.same)
        elif state.exists:
            self.fail([id], exists(id, state.exists))
        return bool(state.same or state.exists)

    def _wait_of(self, id: str, waiter: Waiter) -> Wait | None:
        """The wait that a waiter is in, who may have begun to wait under an id that has turned out to be another."""
        wait = self._waits.get(id)
        while (wait is None or waiter not in wait.waiters) and id in self._moved:
            id = self._moved[id]
            wait = self._waits.get(id)
        return wait

    @staticmethod
    def _check_task(result: AsyncResult[Any], outcome: Outcome) -> None:
        """Raise SealError if the outcome of a unique job is one of another task than that of the handle."""
        if result.task and is_unique(outcome.id) and outcome.task != result.task:
            raise SealError(
                f'The outcome of job "{outcome.id}" is one of task "{outcome.task}", and the call was one of '
                f'"{result.task}".'
            )


def exists(id: str, other: str) -> JobExists:
    """The error of a job that was refused because of another one."""
    text = f'Job "{id}" was not sent: job "{other}" has its key, and the call says on_conflict="error".'
    return about(JobExists(text), other)


def refusals(
    landed: Iterable[tuple[int, Push]], refused: Mapping[str, str]
) -> tuple[dict[int, Exception], dict[int, Push]]:
    """The errors of jobs that were refused because of others, and these jobs, by ticket."""
    found = {ticket: push for ticket, push in landed if push.id in refused}
    return {ticket: exists(push.id, refused[push.id]) for ticket, push in found.items()}, found


def drop_known(known: Mapping[str, str]) -> None:
    """Leave handles as they are: they find out which job they are when they are used."""


def stranger(id: str, other: str) -> SealError:
    """The error where the broker says that a job is one with another key."""
    return SealError(
        f'The broker says that job "{id}" is job "{other}", which has another key: its data was tampered with.'
    )


def no_handle() -> None:
    """Stands for the reference to a handle that does not exist."""
