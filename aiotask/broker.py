"""The writing seam between aiotask and what keeps its jobs: the verbs that every broker has, and their values.

Each verb is a whole state move: it happens completely or not at all, and says per job what became of it. What only
some brokers can do is a Protocol beside them (``brokers/history.py``) and a feature of their ``Technology``.

A broker object belongs to one event loop. Each verb raises ConnectionLost or BrokerError; ``push`` alone: QueueFull.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import IntEnum, StrEnum
from typing import Protocol

import msgspec

from .job import Meta, Obituary, Status
from .wire.special import Special, special_of

__all__ = [
    "BATCH_BYTES",
    "BATCH_JOBS",
    "BATCH_ROW",
    "Begin",
    "Broker",
    "Cancelled",
    "Claim",
    "Delivery",
    "Finish",
    "JobState",
    "Liveness",
    "Notice",
    "Overflow",
    "Push",
    "Recovered",
    "Replayed",
    "Requeue",
    "Room",
    "Settled",
    "Special",
    "special_of",
]

#: Number and bytes of the jobs in one call at most: other clients wait while the broker executes a larger one.
BATCH_JOBS, BATCH_BYTES = 250, 256 * 1024
#: Batches that are sent in one row: the broker serves other clients between them.
BATCH_ROW = 4


class Push(msgspec.Struct, frozen=True, gc=False):
    """One job on its way to the broker."""

    id: str
    queue: str
    priority: int
    #: The sealed envelope.
    sealed: bytes
    #: Seconds until the job is due, by the broker's clock.
    delay: float = 0.0
    #: Unix seconds at which the job is due; takes precedence over ``delay``.
    eta: float | None = None
    #: Whether the user chose the id: a job that the broker already has under it is the same job.
    custom: bool = False
    special: Special | None = None


class Room(msgspec.Struct, frozen=True, gc=False):
    """How many jobs may wait in a queue; the queue ``""`` stands for every one that is not named. Jobs that run or are
    not due yet do not count."""

    max_pending: dict[str, int]
    #: Whether ``push`` returns the jobs that wait longest in a full queue.
    oldest: bool = False

    def of(self, queue: str) -> int | None:
        return self.max_pending.get(queue, self.max_pending.get(""))


class Overflow(msgspec.Struct, frozen=True, gc=False):
    """Jobs of a batch that had no room: their ids, and as many jobs that wait longest in those queues. Unique jobs that
    were not accepted: their ids, and that of the job that each of them is, or because of which it was refused."""

    full: list[str]
    oldest: list[Delivery] = []
    known: dict[str, str] = {}
    refused: dict[str, str] = {}


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A job claimed by one worker incarnation. ``(lane, entry)`` proves the claim: a job that another worker takes over
    gets another entry, so the proof of the previous worker is no longer valid."""

    lane: str
    entry: str
    id: str
    sealed: bytes
    meta: Meta
    #: A process died while it ran this job, so the job runs alone in a worker.
    suspect: bool = False
    #: The job came back to its queue, or was parked: an earlier run of this attempt may have sent jobs.
    returned: bool = False


class Liveness(StrEnum):
    """The state of an incarnation at the broker."""

    LIVE = "live"
    #: The incarnation was declared dead: its jobs went to other workers, and it has to stop.
    DEAD = "dead"
    #: The broker has lost all incarnations (an emptied server): the worker registers anew.
    FORGOTTEN = "forgotten"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a claim brought. ``suspects`` asks the worker to become idle and claim ``alone``; ``reconnected``: to adopt,
    since the connection is new, and the server may have restarted in an older state."""

    deliveries: list[Delivery]
    liveness: Liveness = Liveness.LIVE
    suspects: bool = False
    reconnected: bool = False
    #: Whether a queue that was asked for is paused.
    paused: bool = False
    #: How long the oldest of the jobs from each lane has waited there, as queue and seconds; empty: it is not known.
    waits: Sequence[tuple[str, float]] = ()


class Finish(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job has ended: remove it, store and publish the outcome, all or nothing."""

    delivery: Delivery
    outcome: bytes
    status: Status
    #: Seconds for which the outcome is kept; 0: it is not stored.
    result_ttl: float
    #: Address to which the outcome is published; empty: none.
    reply: str = ""
    #: Whether job and outcome are also kept as a dead letter.
    dead: bool = False
    #: The graph of the job and its number there; empty: the job is in none.
    graph: str = ""
    node: int = 0
    #: Whether the job was pushed with a ``Special``, or left anything else at the broker while it ran.
    special: bool = False


class Begin(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job runs once at most and is about to start; ``lost`` is its sealed outcome if it dies."""

    delivery: Delivery
    lost: bytes
    result_ttl: float


class Requeue(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job goes back to its queue, now or later.

    ``need``: the job is parked for a worker that has this (``task:NAME``, ``python:3.11``, ``release:3``)."""

    delivery: Delivery
    queue: str
    meta: Meta
    delay: float = 0.0
    need: str = ""
    reply: str = ""
    #: 0 to 9: behind all jobs that wait with this priority. -1: before them, since the job has waited long enough.
    behind: int = -1
    #: Limit and key (``NAME:KEY``) of a job that is not admitted, so that it goes into its line; its priority there.
    limit: str = ""
    priority: int = 5
    #: The envelope that the worker has sealed anew, since the job came without its limit; None: the job keeps its own.
    sealed: bytes | None = None


class Settled(IntEnum):
    """What the broker did with one finish or requeue."""

    NOT_YOURS = 0
    DONE = 1
    #: This worker has already settled the delivery.
    BEFORE = 2


class Recovered(msgspec.Struct, frozen=True, gc=False):
    """The result of a recovery: the number of jobs given back, and the deliveries of the jobs to ``keep``."""

    moved: int = 0
    kept: list[Delivery] = []
    more: bool = False


class JobState(msgspec.Struct, frozen=True, gc=False):
    """What the broker knows of one id: the stored outcome, or the status of the unfinished job, or nothing."""

    status: Status | None = None
    #: The sealed outcome.
    outcome: bytes | None = None
    #: What a parked job waits for.
    need: str = ""
    #: Why a worker set the message aside as no job of this app.
    refused: str = ""
    same: str = ""  # the id of the job that this unique one is
    exists: str = ""  # or because of which it was refused
    #: Whether the broker cannot know the job, since another program has damaged its keys.
    doubtful: bool = False


class Notice(msgspec.Struct, frozen=True, gc=False):
    """One message on the results channel. With the id alone it asks the client to poll the status of the job: the
    outcome was large, or the job was parked."""

    id: str
    outcome: bytes | None = None
    #: Sealed: an item that the job has emitted, or its progress.
    item: bytes | None = None
    progress: bytes | None = None


class Cancelled(StrEnum):
    """The result of a cancel."""

    #: The job had not started; it never will.
    DONE = "cancelled"
    #: A worker has the job and is notified; the job will not run again.
    ASKED = "asked"
    FINISHED = "finished"
    UNKNOWN = "unknown"


class Replayed(StrEnum):
    """What became of one dead letter that was to run again, or to be removed."""

    DONE = "replayed"
    #: There is no dead letter with that id (any more).
    MISSING = "missing"
    #: A job with that id waits or runs, or ended later than this one: the letter stays.
    OUTDATED = "outdated"
    #: The job belongs to a graph, which is replayed as a whole: the letter stays.
    GRAPH = "graph"


class Broker(Protocol):
    """The broker as senders, workers and keepers use it."""

    #: Whether ``claim`` takes from queue after queue, in their order, each by priority.
    by_queue: bool

    @property
    def url(self) -> str:
        """The address, without its password."""
        ...

    async def open(self) -> None:
        """Connect and check the server. Raises ConnectionLost, or BrokerError naming the fix."""
        ...

    async def close(self) -> None: ...

    def abandon(self) -> None:
        """Drop the connections without using the loop, which has ended, or is that of the parent of this process."""
        ...

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        """Accept a batch of at most BATCH_JOBS, all or nothing, except for jobs whose queue is full.

        ``sequence`` counts the batches of one client from 1: a batch that is sent again after an ambiguous failure is
        accepted once. The jobs in ``drop`` are ended first, if they still wait."""
        ...

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        """Accept batches for queues without limits in one round trip; return how many were accepted, from the first on.

        They count from ``sequence``, and none is accepted without the one before it. Raises as ``push`` does if the
        first one is not accepted."""
        ...

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        """The state of each id. With an address, its listener gets a notice when an unfinished job ends."""
        ...

    async def listen(
        self, address: str, on_notices: Callable[[list[Notice]], None], on_subscribed: Callable[[], None]
    ) -> None:
        """Pass the notices for an address to ``on_notices`` until cancelled. Connects again by itself, and calls
        ``on_subscribed`` after every (re)subscription: notices published before it are lost."""
        ...

    async def publish(self, address: str, notice: Notice) -> bool:
        """Publish a notice to the listener of an address. False: there is no listener now."""
        ...

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        """End a job that has not started with this sealed outcome; leave a mark for one that has, and notify its worker
        and the keeper of its host, which listen at their own names (incarnation, host)."""
        ...

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        """Make an incarnation live (an id can be live once). ``facts`` is msgpack, for inspectors."""

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        """Claim up to ``limit`` jobs without waiting: returned ones first, then by priority, over all queues. ``alone``
        claims one suspect and nothing else."""

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        """Wait for jobs, at most ``timeout`` seconds, and claim a few of them, often one."""

    async def wake(self) -> None:
        """End the ``wait`` of this object, if one is under way."""

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        """Every delivery that this incarnation holds, as the broker knows it; for use after a broken connection."""

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        """Mark jobs that run once at most before they start: this worker finishes them or gives them back unstarted, or
        a recovery ends them as lost. False: the delivery is no longer this worker's."""

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        """End jobs. ``repeat``: some may have been settled by an earlier call whose answer got lost."""

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        """Give jobs back: retry (later), release (now, as if they had not been claimed), park."""
        ...

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        """Set aside messages that are no jobs of this app, with the reasons; those without a lane are only counted."""
        ...

    async def parked(self, needs: Sequence[str]) -> list[str]:
        """Those of these needs for which jobs are parked."""
        ...

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        """The sealed outcome that a cancel has left for each of these running jobs; None: there was no cancel."""
        ...

    # ---- keeping

    async def renew(self, host: str, counter: int) -> Liveness:
        """Set the host's lease counter, which its keeper raises."""
        ...

    async def leases(self) -> dict[str, int]:
        """The lease counters of all hosts."""
        ...

    async def declare_dead(self, host: str, counter: int | None = None) -> bool:
        """Declare a host and its incarnations dead, if its lease counter still is ``counter``; None: in any case."""
        ...

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        keep: Collection[str] = (),
    ) -> Recovered:
        """Give back the jobs of dead incarnations, a bounded number a call (``more``: call again).

        Without ``dead`` it scans all incarnations that are not live. ``dead`` is made not live first; jobs in ``blame``
        were running as it died (a death is counted, they become suspects); those in ``keep`` stay claimed, and the
        caller finishes the deliveries that are returned."""
        ...

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        """Queue due jobs; return their number, and the seconds until the next one is due (None: there is none)."""
        ...

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        """Run the jobs of dead letters again, each under its id as if it had been sent just now: the letter and its
        outcome are removed, its counters begin anew. A second call has no effect."""
        ...

    async def discard(self, ids: Sequence[str]) -> list[Replayed]:
        """Remove dead letters for good (``Replayed.DONE``), except those of jobs whose graphs are still there."""
        ...

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        """Remove the stored outcomes of finished jobs; return for each id whether there was one.

        From then on the id is unknown: a call with it is a new job."""
        ...
