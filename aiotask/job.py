"""A call that was sent: what travels, and the words for where it stands."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable
from enum import StrEnum

import msgspec

from .errors import SealError

__all__ = ["FINAL", "WIRE_VERSION", "Job", "JobIds", "Status", "decode_job", "encode_job", "keyed_id"]

#: Version of the envelope; release N reads N and N-1.
WIRE_VERSION = 1


class Status(StrEnum):
    """Where a job stands; the same words in Redis, SQLite, CLI and logs."""

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


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sent call. Envelope fields are plain data; only ``body`` went through the app's serializer.

    Counters that change while the job lives (attempt, deaths, due time) travel beside it, see
    ``broker.Meta``: everything here is under the seal. The broker on Redis reads version to queue, priority and reply
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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


def encode_job(job: Job) -> bytes:
    """The envelope as bytes, not yet sealed."""
    return _encode(job)


def decode_job(data: bytes) -> Job:
    """The job in an opened envelope; SealError when it is not one that this release reads."""
    try:
        job = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SealError(f"This is no job envelope: {error}.") from error
    if job.version != WIRE_VERSION:
        raise SealError(
            f"The job has envelope version {job.version}, this release reads {WIRE_VERSION}. Upgrade the worker."
        )
    return job


class JobIds:
    """Ids of one process: two hex digits of shard, 60 random bits of the client, a counter.

    The random part is drawn once, so an id costs a string join; ``client`` changes after a fork.
    """

    def __init__(self, shard: int = 0) -> None:
        self._shard = shard
        self.renew()

    def renew(self) -> None:
        self.client = secrets.token_hex(8)[:15]
        #: The next id; without a line of Python in between, and so for any number of threads.
        self.next: Callable[[], str] = map(f"{self._shard:02x}{self.client}-%x".__mod__, itertools.count(1)).__next__


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


#: Ids of this process, renewed in a forked child so that no two processes share a client id.
ids = JobIds()
os.register_at_fork(after_in_child=ids.renew)
