"""The reading seam: what people and programs can read about queues, jobs, workers and the server.

An inspector changes nothing. Its verbs raise as those of a broker do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from .job import Meta, Status

__all__ = [
    "DeadLetter",
    "Durability",
    "GraphInfo",
    "GraphInspector",
    "GraphNodeInfo",
    "GraphState",
    "GraphSummary",
    "Inspector",
    "JobFilter",
    "JobInfo",
    "LetterFacts",
    "LetterPlace",
    "Page",
    "Persistence",
    "QueueInfo",
    "Sample",
    "ServerFacts",
    "Stats",
    "WorkerInfo",
]


class QueueInfo(msgspec.Struct, frozen=True, gc=False):
    """Counts of one queue: ``pending`` jobs wait, ``running`` jobs are claimed."""

    name: str
    pending: int = 0
    running: int = 0
    scheduled: int = 0
    parked: int = 0
    dead: int = 0
    consumers: int = 0
    #: Those of the counts that are estimates: rows of a table beyond 10,000 are not counted one by one.
    estimates: tuple[str, ...] = ()
    #: Whether no job of it starts, since it is paused, or everything is.
    paused: bool = False
    #: Seconds for which the oldest pending job has been in its lane; None: no job is pending, or it is not known.
    oldest: float | None = None
    #: How many jobs of the queue have ended, by status; jobs that were parked count in ``Stats.ended`` alone.
    ended: dict[str, int] = {}
    #: Those of the pending jobs that wait for a place in a limit; ``oldest`` knows nothing of them.
    held: int = 0


class Stats(msgspec.Struct, frozen=True, gc=False):
    """What is on the broker at one moment. ``scheduled`` includes retries; ``waiting`` jobs wait for other jobs.

    Of two looks, the jobs that ended in between are the difference of ``ended``; those that came are that, and the
    difference of what is unfinished."""

    queues: list[QueueInfo]
    pending: int = 0
    running: int = 0
    scheduled: int = 0
    parked: int = 0
    waiting: int = 0
    dead: int = 0
    workers: int = 0
    #: How many jobs of the app have ended, by status.
    ended: dict[str, int] = {}
    #: Unix seconds of the broker's clock.
    time: float = 0.0
    #: How many runs were followed by a retry, jobs came back unstarted, and processes died while they ran a job.
    retried: int = 0
    returned: int = 0
    died: int = 0
    #: Messages that were set aside, since they were no jobs of the app.
    rejected: int = 0
    #: Unique jobs that a later call has replaced, and follow-ups of graphs that were not wanted: both leave no trace.
    replaced: int = 0
    dropped: int = 0
    #: How many of the parked jobs wait for the end of a pause, not for a worker that can run them.
    paused: int = 0
    #: Hosts that were lost: other hosts have declared them dead.
    lost: int = 0

    @property
    def sent(self) -> int:
        """How many jobs were sent: those that have ended, and those that have not."""
        unfinished = self.pending + self.running + self.scheduled + self.parked + self.waiting
        return unfinished + sum(self.ended.values()) + self.replaced + self.dropped


class JobInfo(msgspec.Struct, frozen=True, gc=False):
    """One job on the server. ``sealed`` and ``outcome`` are what travelled."""

    id: str
    status: Status
    #: Lane and entry as ``LANE|ENTRY``; of a scheduled job the lane that it will go to; of a finished one, words.
    position: str = ""
    meta: Meta = Meta()
    due_at: float | None = None
    worker: str = ""
    sealed: bytes | None = None
    outcome: bytes | None = None
    #: What a worker must have to run a parked job, as in ``broker.JobState``; empty: the job is not parked.
    need: str = ""
    #: How many jobs of its limit and key come before a job that waits in a line; None: it waits in none, or it was not
    #: counted.
    ahead: int | None = None


class JobFilter(msgspec.Struct, frozen=True, gc=False):
    """The conditions that listed jobs have to match; without any, every unfinished job does."""

    #: A status of unfinished jobs; FAILED stands for the dead letters.
    status: Status | None = None
    queue: str | None = None
    task: str | None = None
    #: First characters of the id.
    prefix: str = ""
    #: Text that stands in the envelope as it travels: in the id, the names or the arguments.
    text: str = ""


class Page(msgspec.Struct, frozen=True, gc=False):
    """Some jobs of a list. ``after`` is where the next page begins; empty: this is the last one.

    A page may have fewer jobs than were asked for, or none, while others match: the broker looks at a bounded number of
    jobs a call."""

    jobs: list[JobInfo] = []
    after: str = ""
    #: How many jobs the broker has looked at for it, about; 0: it does not say.
    looked: int = 0


class Sample(msgspec.Struct, frozen=True, gc=False):
    """What waits in a queue: of ``pending`` jobs, ``looked`` were looked at, spread over the times at which they came.

    Fewer were looked at where jobs are large, and all where there are few."""

    pending: int
    looked: int
    #: About how many jobs of each task wait, most first; exactly where all were looked at.
    tasks: dict[str, int] = {}


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A job that was given up: its envelope, its outcome, and when (Unix seconds)."""

    id: str
    at: float
    job: bytes
    outcome: bytes


class LetterFacts(msgspec.Struct, frozen=True, gc=False):
    """What a list of dead letters shows, without the job and its outcome; their seals were not checked.

    ``error``: the class of the error, a colon, and the first line of its message, shortened to 300 characters."""

    id: str
    at: float
    task: str = ""
    queue: str = ""
    error: str = ""
    #: The graph of the job; empty: it was in none.
    graph: str = ""


#: A place in a list of dead letters, the latest first: behind the letter of this time and id, which may be gone.
LetterPlace = tuple[float, str]


class WorkerInfo(msgspec.Struct, frozen=True, gc=False):
    """One live worker incarnation and the facts that it registered with."""

    incarnation: str
    host: str
    facts: dict[str, object]


class GraphState(StrEnum):
    """What a graph that was accepted is doing."""

    ACCEPTED = "accepted"
    #: Nothing of it becomes ready any more.
    CANCELLED = "cancelled"
    #: Every node has ended.
    ENDED = "ended"


class GraphNodeInfo(msgspec.Struct, frozen=True, gc=False):
    """One node of a graph, a job. The end of its job says more than ``bad``: it ended without a value."""

    number: int
    id: str
    task: str
    #: Numbers of the nodes whose values it takes.
    upstream: tuple[int, ...] = ()
    #: Id of the job whose run has returned it; empty: it was sent.
    parent: str = ""
    #: Whether a node upstream has not ended.
    waiting: bool = False
    bad: bool = False


class GraphInfo(msgspec.Struct, frozen=True, gc=False):
    """A graph and some of its nodes, by number; ``more``: there are others."""

    id: str
    #: ``accepted``, ``cancelled`` or ``ended``: every node has ended.
    state: str
    #: The highest number given to a node; not each number is that of a node.
    total: int
    #: Number of nodes that have not ended.
    left: int
    nodes: list[GraphNodeInfo] = []
    more: bool = False
    #: Unix seconds when it came into this state.
    since: float = 0.0


class GraphSummary(msgspec.Struct, frozen=True, gc=False):
    """One graph in a list; ``at`` in Unix seconds: when the broker is to look at it, inf while it runs."""

    id: str
    state: str
    #: Number of jobs, without follow-ups that were dropped.
    total: int
    left: int
    at: float
    #: Unix seconds when it came into this state.
    since: float = 0.0


class Persistence(StrEnum):
    """Where accepted jobs and outcomes are kept, and so what is lost with the server or its machine."""

    #: In memory only.
    MEMORY = "memory"
    #: In snapshots that are taken now and then.
    SNAPSHOTS = "snapshots"
    #: In memory or in snapshots: the server does not report which.
    MEMORY_OR_SNAPSHOTS = "memory or snapshots"
    #: In a log that is written to disk when the operating system does so, every second, or with each write.
    LOG_BY_SYSTEM = "log by system"
    LOG_EACH_SECOND = "log each second"
    LOG_EACH_WRITE = "log each write"
    #: In a log; the server does not report when that is written to disk.
    LOG = "log"


class Durability(msgspec.Struct, frozen=True, gc=False):
    """How accepted jobs are kept."""

    kind: Persistence
    #: The kind in the words of the broker's own settings, for people.
    words: str


class ServerFacts(msgspec.Struct, frozen=True, gc=False):
    """Facts about the broker for doctor and the banner."""

    kind: str
    version: str
    durability: Durability
    #: Bytes of memory that the broker may use (0: no limit), and that it uses.
    memory_limit: int = 0
    memory_used: int = 0
    #: The broker's setting by which it drops jobs when its memory is full; empty: it refuses new jobs instead.
    evicts: str = ""
    #: Number of keys that expire, nearly all of which are outcomes.
    expiring: int = 0
    #: Seconds since the last snapshot (None: there is none), and number of connected replicas.
    unsaved: float | None = None
    replicas: int = 0
    #: Unix seconds of the broker's clock.
    time: float = 0.0
    #: Sentences that the operator should read.
    warnings: list[str] = []
    #: Why jobs cannot be kept on this server, as the rest of a sentence that begins with it (``is a replica of …``),
    #: and what to do about it; both are empty if jobs can be kept there.
    unfit: str = ""
    remedy: str = ""


class Inspector(Protocol):
    """The read side of a broker, for the commands. It never loads a body."""

    async def facts(self) -> ServerFacts: ...

    async def stats(self, max_age: float = 0.0) -> Stats:
        """Counts of everything, in a time that does not depend on the number of jobs.

        Args:
            max_age: seconds that the counts may be old, for those who look again and again: the broker keeps what it
                has counted for 2 s, for all of them. 0: it counts anew."""
        ...

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        """The queues in ``stats``, with their parked jobs and dead letters, which ``stats`` may count in all alone: an
        estimate where there are thousands."""
        ...

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        """Whether a worker of these queues can claim a job now (suspects do not count)."""
        ...

    async def workers(self) -> list[WorkerInfo]: ...

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        """The first unfinished jobs, oldest first within a status; ``page`` reads further."""
        ...

    async def page(self, wanted: JobFilter = ..., after: str = "", limit: int = 50, *, newest: bool = False) -> Page:
        """Jobs behind the place ``after``, which an earlier page gave; empty: from the first one on.

        First come jobs in queues and parked ones, in the order in which they are claimed; then, in no order, those that
        wait for a place in a limit; then scheduled ones by due time; then those that wait for other jobs. Rows of a
        table come by due time, and dead letters the latest first.

        Args:
            newest: of jobs in queues and parked ones, those that came there last come first; of rows, those that are
                due last. Running jobs, where they are listed alone, come in the order in which they were claimed.

        A job that keeps its place while the pages are read is on one of them, whatever comes and goes in between.

        Raises:
            ConfigError: ``after`` was not given by a page of this broker."""
        ...

    async def sample(self, queue: str) -> Sample:
        """What waits in a queue, by task: estimated from about 200 jobs, whatever number waits."""
        ...

    async def job(self, id: str) -> JobInfo | None: ...
    async def dead(self, *, limit: int = 50) -> list[DeadLetter]:
        """The last dead letters, the latest first."""
        ...

    async def letters(self, after: LetterPlace | None = None, limit: int = 250) -> list[LetterFacts]:
        """What is known of the dead letters behind this place, the latest first; fewer than ``limit``: these are the
        last ones."""
        ...

    async def dead_letter(self, id: str) -> DeadLetter | None: ...

    async def rejected(self) -> int:
        """The number of messages set aside because they were no jobs of this app."""
        ...

    async def unrecorded(self) -> int:
        """The number of finished jobs that wait for a recorder."""
        ...


class GraphInspector(Inspector, Protocol):
    """The read side of a broker that keeps graphs."""

    async def graph(self, id: str, after: int = 0, limit: int = 1000) -> GraphInfo | None:
        """The graph with this id, or of the unfinished node with this id, and its nodes with numbers above ``after``;
        None: there is none."""
        ...

    async def graphs(self, after: int = 0, limit: int = 100) -> list[GraphSummary]:
        """Graphs by their ``at``, latest first and so those that run, without the first ``after``."""
        ...

    async def children(self, id: str) -> list[str]:
        """Ids of the jobs that this job has sent, each once, in their order; only the newest are kept, for some
        time."""
        ...
