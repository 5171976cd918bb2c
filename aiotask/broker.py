"""The writing seam between aiotask and what keeps its jobs: the verbs that every broker has, and their values.

Each verb is a whole state move: it happens completely or not at all, and says per job what became of it. What only
some brokers can do is a Protocol beside them (``brokers/history.py``) and a feature of their ``Technology``.

A broker object belongs to one event loop. Every verb raises ``ConnectionLost`` when the broker cannot be reached, and
``BrokerError`` when it refuses; ``push`` alone may raise ``QueueFull``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import IntEnum, StrEnum
from typing import Protocol

import msgspec

from .job import Status

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
    "Meta",
    "Notice",
    "Obituary",
    "Overflow",
    "Push",
    "Recovered",
    "Replayed",
    "Requeue",
    "Room",
    "Settled",
    "Standing",
]

#: What one call to the broker holds at most: larger ones make bystanders wait.
BATCH_JOBS, BATCH_BYTES = 250, 256 * 1024
#: Batches that go out in one row: others get their turn between them.
BATCH_ROW = 4


class Obituary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a process that died, beside the reason in words; text and numbers alone."""

    #: 0: it was not ended by a signal, but by ``exit_code``.
    signal: int = 0
    exit_code: int = 0
    #: Bytes; 0: not known.
    peak_memory: int = 0
    #: Stack of the thread that died, and the last lines that the process wrote to stderr.
    stack: str = ""
    stderr: str = ""


class Meta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The counters of a job that change while it lives; they travel beside the sealed envelope."""

    #: Number of the run that comes next (1 is the first).
    attempt: int = 1
    #: Processes that died while they ran this job.
    deaths: int = 0
    #: How the last of them died, and all that is known of it.
    reason: str = ""
    obituary: Obituary | None = None
    #: Milliseconds of the Unix time at which its dead letter was replayed, 0: it was not. Its children are others then.
    series: int = 0


class Push(msgspec.Struct, frozen=True, gc=False):
    """One job on its way to the broker."""

    id: str
    queue: str
    priority: int
    #: The sealed envelope.
    sealed: bytes
    #: Seconds from now, by the broker's clock.
    delay: float = 0.0
    #: Unix seconds; wins over ``delay``.
    eta: float | None = None
    #: The id was chosen by the user: a job that is known by it already is the same job.
    custom: bool = False


class Room(msgspec.Struct, frozen=True, gc=False):
    """How many jobs may wait in a queue; the one without a name stands for every queue that is not named. What runs,
    or is not due yet, does not count."""

    max_pending: dict[str, int]
    #: Say which ones wait longest there.
    oldest: bool = False

    def of(self, queue: str) -> int | None:
        return self.max_pending.get(queue, self.max_pending.get(""))


class Overflow(msgspec.Struct, frozen=True, gc=False):
    """What of a batch had no room: ids that were not taken, and as many jobs that wait longest in those queues."""

    full: list[str]
    oldest: list[Delivery] = []


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A job lent to one worker incarnation. ``(lane, entry)`` is the proof of it: a job that another worker takes over
    gets another entry, so an old holder's proof is worth nothing."""

    lane: str
    entry: str
    id: str
    sealed: bytes
    meta: Meta
    #: A process died with it, so it runs with no other job beside it.
    suspect: bool = False
    #: It came back to its queue, or was parked: an earlier run of this attempt may have sent jobs.
    returned: bool = False


class Standing(StrEnum):
    """How the broker sees an incarnation."""

    LIVE = "live"
    #: It was declared dead: its jobs went to others and it has to go.
    DEAD = "dead"
    #: The broker lost its memory of all incarnations (an emptied server): register anew.
    FORGOTTEN = "forgotten"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a claim brought. ``suspects`` asks this worker to become idle and claim ``alone``."""

    deliveries: list[Delivery]
    standing: Standing = Standing.LIVE
    suspects: bool = False


class Finish(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job has ended: remove it, store and tell the outcome, all or nothing."""

    delivery: Delivery
    outcome: bytes
    status: Status
    #: Seconds that the outcome is kept; 0: not stored.
    result_ttl: float
    #: Address to tell; empty: none.
    reply: str = ""
    #: Keep job and outcome as a dead letter too.
    dead: bool = False


class Begin(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job runs once at most and is about to start; ``lost`` is its sealed outcome if it dies there."""

    delivery: Delivery
    lost: bytes
    result_ttl: float


class Requeue(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose job goes on: back to its queue, now or later.

    ``need`` names what a worker must have to run it (``task:NAME``, ``python:3.11``): the job is parked until then."""

    delivery: Delivery
    queue: str
    meta: Meta
    delay: float = 0.0
    need: str = ""
    reply: str = ""
    #: 0 to 9: behind all that waits with this priority. -1: before it, as what has waited long enough.
    behind: int = -1


class Settled(IntEnum):
    """What the broker did with one finish or requeue."""

    NOT_YOURS = 0
    DONE = 1
    #: A repeat of what this worker had already settled.
    BEFORE = 2


class Recovered(msgspec.Struct, frozen=True, gc=False):
    """What a recovery did: jobs given back, and the deliveries it was told to hold."""

    moved: int = 0
    held: list[Delivery] = []
    more: bool = False


class JobState(msgspec.Struct, frozen=True, gc=False):
    """What is known of one id: a stored outcome, or where the unfinished job stands, or nothing."""

    status: Status | None = None
    #: The sealed outcome.
    outcome: bytes | None = None
    #: What a parked job waits for.
    need: str = ""
    #: Why a worker set it aside: it was no job of this app to it.
    refused: str = ""
    #: Nothing is known because somebody has spoiled what the broker needs to know it.
    doubtful: bool = False


class Notice(msgspec.Struct, frozen=True, gc=False):
    """One message on the results channel.

    Without an outcome it means that the status is to be asked for: the outcome was large, or the job was parked.
    """

    id: str
    outcome: bytes | None = None


class Cancelled(StrEnum):
    """What a cancel did."""

    #: The job had not started; it never will.
    DONE = "cancelled"
    #: A worker has it; it is told, and it will not run again.
    ASKED = "asked"
    FINISHED = "finished"
    UNKNOWN = "unknown"


class Replayed(StrEnum):
    """What became of a dead letter that was to be run again."""

    DONE = "replayed"
    #: There is none of that id, or there is none any more.
    MISSING = "missing"
    #: A job of that id waits or runs, or ended later than this one: the letter stays.
    OUTDATED = "outdated"


class Broker(Protocol):
    """Where jobs wait and outcomes land."""

    @property
    def url(self) -> str:
        """The address, without its password."""
        ...

    async def open(self) -> None:
        """Connect once and check what is there. ConnectionLost, or BrokerError naming the fix."""
        ...

    async def close(self) -> None: ...

    def abandon(self) -> None:
        """Let go of sockets without the loop: it has ended, or this is a forked child."""
        ...

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        """Accept a batch of at most BATCH_JOBS, all or nothing, but for what a full queue has no room for.

        ``sequence`` counts the batches of one client from 1: one that is sent again after an ambiguous failure is
        accepted once. ``drop`` first ends these jobs, if they still wait."""
        ...

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        """Accept batches for queues without limits in one round trip: how many of them are in, from the first one on.

        They count from ``sequence``, and none is in without the one before it. Raises as ``push`` does where the
        first one is not in."""
        ...

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        """What is known of each id. With an address, its listener is told when an unfinished one ends."""
        ...

    async def listen(self, address: str, heard: Callable[[list[Notice]], None], ready: Callable[[], None]) -> None:
        """Pass on what comes for an address until cancelled; ``ready`` is called after every (re)subscription,
        since whatever was said before that is lost. Connects again by itself."""
        ...

    async def tell(self, address: str, notice: Notice) -> bool:
        """Say something to the listener of an address. False: nobody listens there now."""
        ...

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        """End a job that has not started with this sealed outcome; leave a mark for one that has, and tell its
        owner and the keeper there, who listen at their own names (incarnation, host)."""
        ...

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        """Make an incarnation live (an id is live once in its life). ``facts`` is msgpack for people to read."""
        ...

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        """Up to ``limit`` deliveries, now: returned ones first, then by priority. ``alone`` asks for one suspect
        and nothing else."""
        ...

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        """Sleep until a job is there, or ``timeout`` seconds; brings few deliveries, often one."""
        ...

    async def wake(self) -> None:
        """End the ``wait`` of this object, if one is under way."""
        ...

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        """Every delivery the broker believes this incarnation to hold; for after a broken connection."""
        ...

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        """Jobs that run once at most are about to start: from now on they are finished by this worker, or given back
        by it unstarted, or else whoever recovers them ends them as lost. False: not yours any more."""
        ...

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Standing]:
        """Jobs that ended. ``repeat``: some of it may have been settled by a call whose answer got lost."""
        ...

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Standing]:
        """Jobs that go on: retry (later), release (now, as if it had not been claimed), park."""
        ...

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        """Set aside what is no job of ours (forged, damaged), each with the reason; what came in no lane is counted."""
        ...

    async def parked(self, needs: Sequence[str]) -> list[str]:
        """Which of these needs have jobs parked for them."""
        ...

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        """The sealed outcome that whoever asked to cancel it has left for each of these running jobs."""
        ...

    # ---- keeping

    async def renew(self, host: str, beat: int) -> Standing:
        """Raise the host's lease counter."""
        ...

    async def leases(self) -> dict[str, int]:
        """The lease counter of every host."""
        ...

    async def declare_dead(self, host: str, beat: int | None = None) -> bool:
        """Declare a host and its incarnations dead, if its counter still stands at ``beat``; None: in any case."""
        ...

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        hold: Collection[str] = (),
    ) -> Recovered:
        """Give back what dead incarnations hold, a bounded number a call (``more``: call again).

        Without ``dead`` it is a scan over whatever is not live. ``dead`` is made not live first; jobs in ``blame`` were
        running as it died (a death is counted, they become suspects); those in ``hold`` stay, and come back as
        deliveries for the caller to finish."""
        ...

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        """Put due jobs into their queues. How many, and seconds until the next one is due (None: there is none)."""
        ...

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        """Run dead letters again, each under its id as if it had been sent just now: the letter is removed, its
        outcome forgotten, its counters begin anew. A second call finds nothing to do."""
        ...

    async def discard(self, ids: Sequence[str]) -> list[bool]:
        """Remove dead letters for good. Which of them were there."""
        ...

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        """Remove the stored outcomes of finished jobs; of each id whether there was one.

        From then on the id is unknown: a call with it is a new job."""
        ...
