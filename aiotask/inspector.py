"""The reading seam: what people and programs are told about queues, jobs, workers and the server.

An inspector changes nothing. Its verbs raise as those of a broker do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from .broker import Meta
from .job import Status

__all__ = [
    "DeadLetter",
    "Durability",
    "Inspector",
    "JobInfo",
    "Persistence",
    "QueueInfo",
    "ServerFacts",
    "WorkerInfo",
]


class QueueInfo(msgspec.Struct, frozen=True, gc=False):
    """Counts of one queue. ``pending`` wait, ``running`` are claimed."""

    name: str
    pending: int = 0
    running: int = 0
    scheduled: int = 0
    parked: int = 0
    dead: int = 0
    consumers: int = 0


class JobInfo(msgspec.Struct, frozen=True, gc=False):
    """One job on the server. ``sealed`` and ``outcome`` are what travelled."""

    id: str
    status: Status
    place: str = ""
    meta: Meta = Meta()
    due_at: float | None = None
    worker: str = ""
    sealed: bytes | None = None
    outcome: bytes | None = None


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A job that was given up: envelope, outcome, when (Unix seconds)."""

    id: str
    at: float
    job: bytes
    outcome: bytes


class WorkerInfo(msgspec.Struct, frozen=True, gc=False):
    """One live incarnation and the facts it registered with."""

    incarnation: str
    host: str
    facts: dict[str, object]


class Persistence(StrEnum):
    """Where accepted jobs and outcomes are, and so what is lost with the server or its machine."""

    #: In memory alone.
    MEMORY = "memory"
    #: In snapshots that are taken now and then.
    SNAPSHOTS = "snapshots"
    #: In memory or in snapshots: the server does not tell.
    MEMORY_OR_SNAPSHOTS = "memory or snapshots"
    #: In a log that the operating system brings to the disk in its own time, every second, or with each write.
    LOG_BY_SYSTEM = "log by system"
    LOG_EACH_SECOND = "log each second"
    LOG_EACH_WRITE = "log each write"
    #: In a log; when that comes to the disk the server does not tell.
    LOG = "log"


class Durability(msgspec.Struct, frozen=True, gc=False):
    """How accepted jobs are kept."""

    kind: Persistence
    #: The same in the words of the broker's own settings, for people.
    words: str


class ServerFacts(msgspec.Struct, frozen=True, gc=False):
    """What doctor and the banner say about the broker."""

    kind: str
    version: str
    durability: Durability
    #: Bytes that the broker may hold, 0: there is no limit; and bytes that it holds.
    memory_limit: int = 0
    memory_used: int = 0
    #: The broker's setting by which it drops jobs when it is full; empty: it refuses new ones then, and drops none.
    evicts: str = ""
    #: Keys that end by themselves: nearly all of them are outcomes.
    expiring: int = 0
    #: Seconds since the last snapshot of the data, None: there is none; replicas that are connected.
    unsaved: float | None = None
    replicas: int = 0
    #: Unix seconds of the broker's clock.
    time: float = 0.0
    #: Something the operator should know, as sentences.
    warnings: list[str] = []
    #: Why jobs cannot be kept on this server, as the rest of a sentence that begins with it (``is a replica of …``),
    #: and what to do about it; both are empty if jobs can be kept there.
    unfit: str = ""
    remedy: str = ""


class Inspector(Protocol):
    """The read side for CLI and dashboard. It never loads a body."""

    async def facts(self) -> ServerFacts: ...
    async def queues(self) -> list[QueueInfo]: ...

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        """Whether there is a job that a worker of these queues may claim now (suspects left aside)."""
        ...

    async def workers(self) -> list[WorkerInfo]: ...

    async def jobs(
        self, *, status: Status | None = None, queue: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[JobInfo]:
        """Unfinished jobs, oldest first within a status."""
        ...

    async def job(self, id: str) -> JobInfo | None: ...
    async def dead(self, *, limit: int = 50, offset: int = 0) -> list[DeadLetter]:
        """Dead letters, the last one first."""
        ...

    async def dead_letter(self, id: str) -> DeadLetter | None: ...

    async def rejected(self) -> int:
        """How many messages were set aside because they were no jobs of ours."""
        ...

    async def unrecorded(self) -> int:
        """Finished jobs that wait for a recorder."""
        ...
