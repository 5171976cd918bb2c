"""The state that the memory broker keeps per job and per lane."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from ...broker import Delivery, Requeue
from ...errors import SealError
from ...job import Job, Meta, Status, decode_job
from ...wire.seal import OVERHEAD
from ..bounds import HISTORY_ROWS
from ..lanes import flags_of, is_parked, lane_of, line_of, need_of, queue_of
from .clock import Clock
from .wakeup import Bell

__all__ = ["Ending", "Lane", "Record", "Row", "Rows"]


@dataclass(slots=True, eq=False)
class Record:
    """One unfinished job: in a lane (``owner`` has claimed it; empty: it waits), or scheduled outside it."""

    id: str
    queue: str
    sealed: bytes
    lane: str
    meta: Meta = field(default_factory=Meta)
    entry: str = ""
    owner: str = ""
    due_at: float | None = None
    is_retry: bool = False
    #: When it came into its lane (Unix seconds).
    placed_at: float = 0.0
    #: Line and number (``LINE|NUMBER``) of a limited job while it is admitted; empty: it is not.
    admitted: str = ""

    @property
    def need(self) -> str:
        return need_of(self.lane)

    @property
    def status(self) -> Status:
        if self.due_at is not None:
            return Status.RETRYING if self.is_retry else Status.SCHEDULED
        if self.owner:
            return Status.RUNNING
        return Status.PARKED if self.need else Status.PENDING

    @property
    def reply(self) -> str:
        """The address inside the envelope; for the rare paths on which the envelope is not decoded yet."""
        job = self._opened()
        return job.reply if job else ""

    @property
    def sent_to(self) -> str:
        """The queue inside the envelope."""
        job = self._opened()
        return job.queue if job else ""

    @property
    def sent_lane(self) -> str:
        """The lane into which the job was sent, or its target in a line, by its envelope; empty: the envelope is not
        readable."""
        job = self._opened()
        if job and job.more and job.more.limit:
            return f"{line_of(job.queue, job.priority, job.more.limit)}|"
        return lane_of(job.queue, job.priority) if job else ""

    @property
    def end_facts(self) -> tuple[str, float]:
        """Task and result TTL in seconds inside the envelope."""
        job = self._opened()
        return (job.task, job.result_ttl) if job else ("", 0.0)

    @property
    def graph(self) -> str:
        """The graph inside the envelope; empty: the job is in none."""
        job = self._opened()
        return job.more.flow.graph if job and job.more and job.more.flow else ""

    def _opened(self) -> Job | None:
        try:
            return decode_job(self.sealed[OVERHEAD:])
        except SealError:
            return None

    def delivery(self, suspect: bool, returned: bool) -> Delivery:
        """The job as a delivery.

        Args:
            suspect: as ``flags_of`` says of its lane; ``returned``: the same.
        """
        return Delivery(self.lane, self.entry, self.id, self.sealed, self.meta, suspect, returned)

    def as_claimed(self) -> Delivery:
        """The delivery with which the job was claimed."""
        return self.delivery(*flags_of(self.lane))


@dataclass(slots=True)
class Lane:
    """Entries of one lane, oldest first: jobs that wait, and jobs that are claimed."""

    waiting: dict[str, Record] = field(default_factory=dict)
    claimed: dict[str, Record] = field(default_factory=dict)


@dataclass(slots=True)
class Ending:
    """The outcome with which a job ends. ``ttl`` is in seconds, 0: the outcome is not stored."""

    outcome: bytes
    status: Status
    ttl: float
    reply: str = ""
    is_dead: bool = False


@dataclass(slots=True)
class Row:
    """A finished job that waits to be recorded; ``reader`` read it at ``read_at`` (monotonic)."""

    entry: str
    job: bytes
    outcome: bytes
    meta: Meta
    reader: str = ""
    read_at: float = 0.0


#: Seconds after which the rows that a recorder read and did not trim go to the next recorder that reads.
RECORDER_IDLE = 60.0


class Rows:
    """Finished jobs that are not recorded yet, oldest first."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.history: dict[str, Row] = {}
        self.is_recording = False
        self.recorders: set[Bell] = set()
        #: How many jobs have ended, by queue and status.
        self.ended: Counter[tuple[str, str]] = Counter()
        #: How many runs were ``retried`` or ``died``, and jobs were ``returned`` unstarted.
        self.runs: Counter[str] = Counter()
        #: Of the last claim: how long the oldest job of each lane had waited there, as queue and seconds.
        self.waits: list[tuple[str, float]] = []
        self._counter = itertools.count(1)

    def note_wait(self, lane: str, oldest: Record) -> None:
        """Note how long the oldest job of a lane that is claimed from has waited."""
        if not is_parked(lane):
            self.waits.append((queue_of(lane), max(0.0, self.clock.time() - oldest.placed_at)))

    def count_requeue(self, meta: Meta, item: Requeue) -> None:
        """Count a job that goes back to its queue, with its counters before."""
        if item.meta.attempt != meta.attempt:
            self.runs["retried"] += 1
        elif not item.need:
            self.runs["returned"] += 1

    def record(self, record: Record, outcome: bytes) -> None:
        """Append a finished job for the recorders."""
        entry = str(next(self._counter))
        self.history[entry] = Row(entry, record.sealed, outcome, record.meta)
        if len(self.history) > HISTORY_ROWS:
            del self.history[next(iter(self.history))]
        self.recorders = {bell for bell in self.recorders if bell.ring()}

    def read(self, recorder: str, limit: int) -> list[Row]:
        """Rows that no recorder has read, or whose recorder went away, oldest first."""
        self.is_recording = True
        now = self.clock.monotonic()
        free = (row for row in self.history.values() if not row.reader or row.read_at < now - RECORDER_IDLE)
        rows = list(itertools.islice(free, limit))
        for row in rows:
            row.reader, row.read_at = recorder, now
        return rows
