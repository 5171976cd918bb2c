"""A call that was sent: what travels, and the words for where it stands."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b

import msgspec

from .errors import SealError

__all__ = [
    "FINAL",
    "RELEASE",
    "WIRE_VERSION",
    "Job",
    "JobIds",
    "More",
    "Status",
    "child_digest",
    "child_id",
    "decode_job",
    "encode_job",
    "family",
    "keyed_id",
    "need_of",
]

#: Version of what every release since the first one reads: outcomes, control messages, and the envelopes of plain jobs.
WIRE_VERSION = 1
#: The highest version of an envelope that this release runs. That of a job is the lowest release that may run it: a
#: worker of an older one parks the job for a newer one.
RELEASE = 2


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


#: Statuses that never change again.
FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.EXPIRED})


class More(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What few jobs have. A release adds fields at the end; a job without any of them pays one byte."""

    #: Id of the job that sent this one, and what middleware attached: kept for later releases, which fill them in.
    parent: str = ""
    headers: dict[str, str] | None = None
    #: Unix seconds by the sender's clock after which no run starts; 0: there is no such moment.
    expires: float = 0.0


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job as it was sent. All fields are plain data, except ``body``, which the app has serialized.

    Counters that change while the job lives (attempt, deaths, due time) are stored next to it, see ``broker.Meta``;
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
    #: Unix seconds by the sender's clock.
    sent_at: float = 0.0
    #: Address of the client that is told about the outcome; empty: nobody.
    reply: str = ""
    #: None: what the task itself says.
    retries: int | None = None
    #: Seconds; None: what the task itself says; 0: no limit.
    timeout: float | None = None
    #: Seconds that the outcome is kept; 0: it is not stored.
    result_ttl: float = 3600.0
    #: When it was to start, Unix seconds by the sender's clock.
    due_at: float = 0.0
    more: More | None = None


_encode = msgspec.msgpack.Encoder().encode
#: An envelope as bytes, not yet sealed. No function around it: every send would pay for the call.
encode_job: Callable[[Job], bytes] = _encode
_decode = msgspec.msgpack.Decoder(Job).decode


def decode_job(data: bytes) -> Job:
    """The job in an opened envelope, of this release or another one: its version says which may run it.

    Raises:
        SealError: it is no envelope.
    """
    try:
        job = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(f"This is not a job envelope: {error}.") from error
    if job.version < WIRE_VERSION:
        raise SealError(f"The job has envelope version {job.version}, and the first one is {WIRE_VERSION}.")
    return job


def need_of(job: Job) -> str:
    """What a worker must offer to run this job beside its task, where this release does not; empty: it runs the job."""
    return f"release:{job.version}" if job.version > RELEASE else ""


#: What the last three hex digits of a counter may be, in order.
_TAILS = tuple(map("%03x".__mod__, range(0x1000)))


class JobIds:
    """Ids of one process: two hex digits of shard, 60 random bits of the client, a counter.

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
        #: The next id; without a line of Python in between, and so for any number of threads.
        self.next: Callable[[], str] = map(str.__add__, each_for_all_tails, itertools.cycle(_TAILS)).__next__


def keyed_id(task: str, key: str) -> str:
    """The id of the one job that a task has under an idempotency key.

    The digest alone tells jobs apart; behind it stands as much of the key as people need to recognize the job in a list
    or a log.
    """
    import hashlib

    digest = hashlib.blake2s(f"{task}\0{key}".encode(), digest_size=12).hexdigest()
    shown = _UNSHOWN.sub("_", key)
    return f"00key-{digest}-{shown if len(shown) <= 60 else '..' + shown[-58:]}"


#: What an id shows of a key: characters that need no quotes in a shell and no escape in a URL.
_UNSHOWN = re.compile(r"[^A-Za-z0-9._\-]")


def family(parent: Job, attempt: int, series: int) -> blake2b:
    """The beginning of the hashes that name what one attempt of a job sends.

    Args:
        series: of the parent's ``broker.Meta``.
    """
    # A parent under an id of the user's may have been sent before, and ended: the moment tells them apart.
    return blake2b(f"{parent.id}\0{parent.sent_at!r}\0{attempt}\0{series}\0".encode(), digest_size=11)


def child_digest(family: blake2b, call: tuple[str | float | bool | None, ...], body: bytes) -> str:
    """What tells a call that a job sends from all others, but for equal ones in the same attempt of that job.

    Args:
        call: what is said of the call beside its serialized arguments, which are the ``body``.
    """
    digest = family.copy()
    digest.update(_encode(call))
    digest.update(body)
    return digest.hexdigest()


def child_id(digest: str, number: int) -> str:
    """The id of a job that another one sends, the same whenever that attempt of the parent is run.

    Args:
        number: how many equal calls came before it in this run.
    """
    if number:
        digest = blake2b(f"{digest} {number}".encode(), digest_size=11).hexdigest()
    return f"00child-{digest}"


#: Ids of this process, renewed in a forked child so that no two processes share a client id.
ids = JobIds()
os.register_at_fork(after_in_child=ids.renew)
