"""What a worker counts of its jobs: the log's own counts, and durations of 1 ms and more, handed on once a second."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ..broker import Finish
from ..job import Status
from ..log.events import JobEvent
from ..outcome import decode_outcome
from ..values.metrics import BUCKETS, Counts, Slot, Table, bucket_of, slot_of
from ..wire.error_form import text_of
from ..wire.seal import OVERHEAD
from .run import Run
from .verdict import Verdict

__all__ = ["Measures", "MetricsTable", "Sink", "shape_of"]

#: What each event of the log counts as.
_EVENTS = {
    JobEvent.SUCCEEDED: Slot.SUCCEEDED,
    JobEvent.FAILED: Slot.FAILED,
    JobEvent.TIMEOUT: Slot.FAILED,
    JobEvent.DEAD: Slot.FAILED,
    JobEvent.RETRYING: Slot.RETRIED,
    JobEvent.CANCELLED: Slot.CANCELLED,
    JobEvent.EXPIRED: Slot.EXPIRED,
    JobEvent.WAITING: Slot.REFERRED,
}
_STATUSES = {
    Status.SUCCESS: Slot.SUCCEEDED,
    Status.FAILED: Slot.FAILED,
    Status.CANCELLED: Slot.CANCELLED,
    Status.EXPIRED: Slot.EXPIRED,
}
#: Cells of a row behind its buckets; the first bucket is not counted.
_TIME, _CPU = BUCKETS, BUCKETS + 1
#: Characters of an error from which its shape is made, and of a shape; shapes of one second.
_MESSAGE, _SHAPE, _SHAPES = 500, 120, 64
#: What differs between two errors of the same kind: quoted text, numbers with their units, and hex.
_DIFFERS = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8,}\b|\d[\d.,:_-]*")


#: Where counts go, as numbers by slot of tasks and of queues, and errors by shape: they are added to what was counted
#: before, on a page that other processes read or in a table of this process.
Sink = Callable[[Table, Table, Mapping[str, int]], None]


class Settlements(Protocol):
    """The account of what was handed over to the broker, and what of it the broker has taken."""

    handed: int
    settled: int


class MetricsTable:
    """The sink of a worker in a process of the user, whose keeper is a thread of it."""

    def __init__(self) -> None:
        self._tasks: dict[str, Counts] = {}
        self._queues: dict[str, Counts] = {}
        self._errors: dict[str, int] = {}

    def add(self, tasks: Table, queues: Table, errors: Mapping[str, int]) -> None:
        """Add to what was counted before."""
        # Each is replaced as a whole: the keeper reads in another thread.
        before = self._errors
        self._tasks, self._queues = _sum(self._tasks, tasks), _sum(self._queues, queues)
        self._errors = before | {shape: before.get(shape, 0) + number for shape, number in errors.items()}

    def read(self) -> tuple[dict[str, Counts], dict[str, Counts], dict[str, int]]:
        """Tasks, queues and errors since the beginning."""
        return self._tasks, self._queues, self._errors


def _sum(before: dict[str, Counts], more: Table) -> dict[str, Counts]:
    return before | {name: before.get(name, Counts()) + Counts(slots) for name, slots in more.items()}


class Measures:
    """Counts for one worker; for its event loop.

    What was counted goes on once the broker has taken the ends of these jobs: a job whose process is killed before
    that is counted by the process that runs it again.

    Args:
        sink: None: nothing is counted.
    """

    def __init__(self, sink: Sink | None, settlements: Settlements) -> None:
        self._sink = sink
        self._settlements = settlements
        #: Buckets, time and CPU in seconds of the runs of each task.
        self._ran: dict[str, list[float]] = {}
        self._waited: dict[str, dict[int, int]] = {}
        #: Rarer numbers of each task, and shapes of errors.
        self._tasks: Table = {}
        self._errors: dict[str, int] = {}
        #: Tasks, queues and errors that wait until so much is settled.
        self._held: tuple[Table, Table, dict[str, int]] = {}, {}, {}
        self._mark = 0

    def ran(self, task: str, took: float, cpu: float | None) -> None:
        """Count a run of 1 ms or more."""
        row = self._ran.get(task)
        if row is None:
            row = self._ran[task] = [0.0] * (BUCKETS + 2)
        row[bucket_of(took)] += 1
        row[_TIME] += took
        if cpu is not None:
            row[_CPU] += cpu

    def waited(self, waits: Sequence[tuple[str, float]]) -> None:
        """Count how long the oldest job of a claim waited in each lane, as queue and seconds."""
        for queue, seconds in waits:
            row = self._waited.setdefault(queue, {})
            _add(row, Slot.SUCCEEDED, 1)
            _add(row, Slot.TIME, round(seconds * 1e6))
            if bucket := bucket_of(seconds):
                _add(row, slot_of(bucket), 1)

    def unusual(self, run: Run, verdict: Verdict) -> None:
        """Count the end of a run other than a success: whether it was run, its limit, its error."""
        task = run.job.task
        if not run.started_at and _EVENTS.get(verdict.event(dead=False)) is not None:
            self._count(task, Slot.UNSTARTED)
        if verdict.timed_out:
            self._count(task, Slot.TIMED_OUT)
        if verdict.is_failure and verdict.error is not None:
            shape = f"{task}\t{shape_of(verdict.error)}"
            if shape in self._errors or len(self._errors) < _SHAPES:
                self._errors[shape] = self._errors.get(shape, 0) + 1

    def _count(self, task: str, slot: Slot, number: int = 1) -> None:
        _add(self._tasks.setdefault(task, {}), slot, number)

    def disown(self, ends: Iterable[Finish]) -> None:
        """These ends were not this worker's: the jobs end, or have ended, elsewhere."""
        for end in ends:
            task = decode_outcome(end.outcome[OVERHEAD:]).task
            self._count(task, _STATUSES[end.status], -1)
            self._count(task, Slot.REFERRED)

    def flush(self, events: Mapping[str, Mapping[str, int]]) -> None:
        """Take what was counted since the last time, to be handed on.

        Args:
            events: how many of each event the log has had since then, by task.
        """
        self.hand_on()
        tasks, queues, errors, ran = self._tasks, self._waited, self._errors, self._ran
        self._tasks, self._waited, self._errors, self._ran = {}, {}, {}, {}
        for event, counted in _EVENTS.items():
            for task, number in events[event].items():
                _add(tasks.setdefault(task, {}), counted, number)
        for task, cells in ran.items():
            row = tasks.setdefault(task, {})
            for bucket in range(1, BUCKETS):
                if cells[bucket]:
                    _add(row, slot_of(bucket), int(cells[bucket]))
            _add(row, Slot.TIME, round(cells[_TIME] * 1e6))
            _add(row, Slot.CPU, round(cells[_CPU] * 1e6))
        for held, more in ((self._held[0], tasks), (self._held[1], queues)):
            for name, slots in more.items():
                row = held.setdefault(name, {})
                for slot, number in slots.items():
                    _add(row, slot, number)
        for shape, number in errors.items():
            self._held[2][shape] = self._held[2].get(shape, 0) + number
        self._mark = self._settlements.handed
        self.hand_on()

    def hand_on(self) -> None:
        """Hand on what was taken, if the broker has taken the ends of these jobs."""
        if any(self._held) and self._settlements.settled >= self._mark:
            held, self._held = self._held, ({}, {}, {})
            if self._sink is not None:
                self._sink(*held)


def _add(row: dict[int, int], slot: int, number: int) -> None:
    row[slot] = row.get(slot, 0) + number


def shape_of(error: BaseException) -> str:
    """The class of an error and the first line of its message, without what differs from one to the next."""
    # A KeyError has nothing but a quoted text.
    line = text_of(error)[:_MESSAGE].partition("\n")[0].strip("'\"")
    return f"{type(error).__name__}: {_DIFFERS.sub('…', line)}"[:_SHAPE]
