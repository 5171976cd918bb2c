"""Jobs: their envelope, their ids, and the names of their statuses."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b

import msgspec

from .errors import SealError
from .values.flow import Flow
from .values.unique import shown

__all__ = [
    "FINAL",
    "GRAPHS_RELEASE",
    "LOSS",
    "PAUSED_NEED",
    "RELEASE",
    "RESULT_TTL",
    "TRAIL",
    "TRAIL_BYTES",
    "TRAIL_ERROR",
    "TRAIL_WORKER",
    "WIRE_VERSION",
    "Attempt",
    "Job",
    "JobIds",
    "Meta",
    "More",
    "Obituary",
    "Status",
    "child_digest",
    "child_id",
    "decode_job",
    "encode_job",
    "family",
    "flow_of",
    "is_paused_need",
    "keyed_id",
    "need_of",
    "with_attempt",
]

#: Version of what every release since the first one reads: outcomes, control messages, and the envelopes of plain jobs.
WIRE_VERSION = 1
#: The highest version of an envelope that this release runs. The version of a job is the lowest release that may run
#: it: a worker of an older release parks the job for a newer one.
RELEASE = 3
#: The lowest release that runs nodes of graphs.
GRAPHS_RELEASE = 2
#: Seconds for which an outcome is kept, unless the app or the task gives others.
RESULT_TTL = 3600.0


class Status(StrEnum):
    """The status of a job; Redis, SQLite, the commands and the logs use the same words."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    PARKED = "PARKED"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


#: What the need of a job begins with that is parked since its task is paused; the id of the pause follows.
PAUSED_NEED = "pause:"

#: Statuses that never change again.
FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.EXPIRED})


class More(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Fields that few jobs have. A release adds fields at the end; a job without any of them takes one more byte."""

    #: Id of the job that sent this one; empty: none did.
    parent: str = ""
    #: Text by name that the middleware of the sender attached.
    headers: dict[str, str] | None = None
    #: Positive: the Unix time in seconds after which no run of the job starts. Negative: the job expires -``expires``
    #: seconds after the broker has accepted it, or after the node of a graph is ready. 0: the job does not expire.
    expires: float = 0.0
    #: Limit and key of a limited job, as ``NAME:KEY``; empty: the job has no limit.
    limit: str = ""
    #: The ``unique.Rule`` of a unique job; empty: the job is not unique.
    unique: str = ""
    #: The place of the job in its graph.
    flow: Flow | None = None


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job as it was sent. All fields are plain data, except ``body``, which the app has serialized.

    Counters that change while the job lives (attempt, deaths) are stored next to it, see ``Meta``;
    the seal covers everything here. The broker on Redis reads version to queue, priority and reply
    at their places.
    """

    version: int
    id: str
    task: str
    queue: str
    body: bytes
    #: 0 is first, 9 last.
    priority: int = 5
    #: When the job was sent, in Unix seconds by the sender's clock.
    sent_at: float = 0.0
    #: Address of the client to which the outcome is published; empty: none.
    reply: str = ""
    #: Number of retries; None: that of the task.
    retries: int | None = None
    #: Time limit in seconds; None: that of the task; 0: no limit.
    timeout: float | None = None
    #: Seconds for which the outcome is kept; 0: it is not stored.
    result_ttl: float = RESULT_TTL
    #: When the job is due, in Unix seconds by the sender's clock.
    due_at: float = 0.0
    more: More | None = None


class Obituary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Facts about a process that died, besides the reason in words; only text and numbers."""

    #: Number of the signal that ended the process; 0: it ended with ``exit_code``.
    signal: int = 0
    exit_code: int = 0
    #: Peak memory of the process in bytes; 0: not known.
    peak_memory: int = 0
    #: Stack of the thread that died, and the last lines that the process wrote to stderr.
    stack: str = ""
    stderr: str = ""


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of a job that runs again."""

    #: Unix seconds of its end, by the clock of the process that has noted it.
    at: float
    worker: str = ""
    #: ``retried``: it failed. ``killed``: at its limit, with its process. ``died``: its process did. ``lost``: its host
    #: was, on which it may have begun.
    how: str = ""
    #: Class and first line of its error, or how the process died.
    error: str = ""


class Meta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The counters of a job that change while it lives; they travel beside the sealed envelope."""

    #: Number of the run that comes next (1 is the first).
    attempt: int = 1
    #: Processes that died while they ran this job.
    deaths: int = 0
    #: How the last such process died, in words and as facts.
    reason: str = ""
    obituary: Obituary | None = None
    #: Unix time in milliseconds at which its dead letter was replayed, 0: never. A replay gives its children other ids.
    series: int = 0
    #: Whether an earlier run has left a checkpoint, so that the next one asks for it.
    saved: bool = False
    #: The last 10 runs before the next one, the oldest first; 2 kB at most.
    trail: tuple[Attempt, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
#: Encodes an envelope, which is not yet sealed. No function around it: every send would pay for the call.
encode_job: Callable[[Job], bytes] = _encode
_decode = msgspec.msgpack.Decoder(Job).decode


#: Attempts in a trail, bytes of it, and characters of a name and of an error there.
TRAIL, TRAIL_BYTES, TRAIL_WORKER, TRAIL_ERROR = 10, 1900, 80, 120


#: What a trail says of a run on a host that was lost.
LOSS = "its host was lost, on which it was claimed and may have begun"


def with_attempt(meta: Meta, at: float, worker: str, how: str, error: str) -> Meta:
    """The counters of a job with one more run in its trail."""
    line = error.partition("\n")[0][:TRAIL_ERROR]
    trail = (*meta.trail, Attempt(round(at, 3), worker[:TRAIL_WORKER], how, line))[-TRAIL:]
    while len(_encode(trail)) > TRAIL_BYTES:
        trail = trail[1:]
    return msgspec.structs.replace(meta, trail=trail)


def decode_job(data: bytes) -> Job:
    """The job in an opened envelope of this or another release; its version says which releases may run it.

    Raises:
        SealError: the bytes are no envelope.
    """
    try:
        job = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(f"This is not a job envelope: {error}.") from error
    if job.version < WIRE_VERSION:
        raise SealError(f"The job has envelope version {job.version}, and the first one is {WIRE_VERSION}.")
    return job


def flow_of(job: Job) -> Flow | None:
    """The place of a job in its graph; None: it is in none."""
    return None if job.more is None else job.more.flow


def is_paused_need(need: str) -> bool:
    """Whether a job with this need is parked since its task is, or was, paused."""
    return need.startswith(PAUSED_NEED)


def need_of(job: Job) -> str:
    """The release that a worker needs to run this job, as ``release:N``; empty: this release runs the job."""
    return f"release:{job.version}" if job.version > RELEASE else ""


#: All values of the last three hex digits of a counter, in order.
_TAILS = tuple(map("%03x".__mod__, range(0x1000)))


class JobIds:
    """The job ids of one process: two hex digits of shard, 60 random bits of the client, a counter.

    The random part is drawn once, and the counter is formatted once for every 4,096 ids, so an id costs a string join.
    ``client`` changes after a fork.
    """

    def __init__(self, shard: int = 0) -> None:
        self._shard = shard
        self.renew()

    def renew(self) -> None:
        self.client = secrets.token_hex(8)[:15]
        heads = map(f"{self._shard:02x}{self.client}-%x".__mod__, itertools.count(1))
        each_for_all_tails = itertools.chain.from_iterable(map(itertools.repeat, heads, itertools.repeat(len(_TAILS))))
        #: Returns the next id. It runs no Python code, so any number of threads may call it.
        self.next: Callable[[], str] = map(str.__add__, each_for_all_tails, itertools.cycle(_TAILS)).__next__


def keyed_id(task: str, key: str) -> str:
    """The id of the one job that a task has under an idempotency key.

    Only the digest distinguishes jobs; the end of the id shows as much of the key as people need to recognize the job
    in a list or a log.
    """
    import hashlib

    digest = hashlib.blake2s(f"{task}\0{key}".encode(), digest_size=12).hexdigest()
    return f"00key-{digest}-{shown(key)}"


def family(parent: Job, attempt: int, series: int) -> blake2b:
    """The beginning of the digests of all calls that one attempt of a job sends.

    Args:
        series: the series in the parent's ``Meta``.
    """
    # Two parents may have had the same id, chosen by the user, one after the other: ``sent_at`` distinguishes them.
    return blake2b(f"{parent.id}\0{parent.sent_at!r}\0{attempt}\0{series}\0".encode(), digest_size=11)


def child_digest(family: blake2b, call: tuple[str | float | bool | None, ...], body: bytes) -> str:
    """The digest that distinguishes a call that a job sends from all but equal calls in the same attempt of the job.

    Args:
        call: all that identifies the call, except for its serialized arguments, the ``body``.
    """
    digest = family.copy()
    digest.update(_encode(call))
    digest.update(body)
    return digest.hexdigest()


def child_id(digest: str, number: int) -> str:
    """The id of a job that another job sends, the same each time that attempt of the parent runs.

    Args:
        number: how many equal calls were sent earlier in this run.
    """
    if number:
        digest = blake2b(f"{digest} {number}".encode(), digest_size=11).hexdigest()
    return f"00child-{digest}"


#: Ids of this process, renewed in a forked child so that no two processes share a client id.
ids = JobIds()
os.register_at_fork(after_in_child=ids.renew)
