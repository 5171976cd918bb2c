"""One delivery on its way through a worker, and what is known of it."""

from __future__ import annotations

import itertools
from typing import Any, Protocol

from ..broker import Delivery
from ..context import JobContext
from ..job import Job
from ..tasks import Definition

__all__ = ["Marks", "NoMarks", "Run"]

_tokens = itertools.count(1)


class Run:
    """One run of one job: what was claimed, how it is called, what came of it."""

    __slots__ = (
        "arguments",
        "cancelled",
        "context",
        "delivery",
        "error",
        "finished_at",
        "job",
        "owner",
        "said",
        "slot",
        "started_at",
        "started_mono",
        "stopped",
        "task",
        "timeout",
        "token",
        "took",
        "traceback",
        "value",
    )

    def __init__(self, delivery: Delivery, job: Job, task: Definition, worker: str) -> None:
        #: The worker that takes it back when it has ended.
        self.owner: Any = None
        self.delivery = delivery
        self.job = job
        self.task = task
        self.context = JobContext(job, delivery.meta.attempt, worker)
        limit = task.timeout if job.timeout is None else job.timeout
        #: Seconds this run may take; None: no limit.
        self.timeout = limit or None
        #: Tells this run from every other one in the process.
        self.token = next(_tokens)
        self.slot = -1
        self.started_at = 0.0
        self.started_mono = 0.0
        self.finished_at = 0.0
        self.took = 0.0
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.value: bytes | None = None
        self.error: BaseException | None = None
        #: The traceback as text, made where the error was caught.
        self.traceback = ""
        #: Its start is in the log.
        self.said = False
        #: Somebody asked to cancel it; the worker stops and gives it back.
        self.cancelled = False
        self.stopped = False

    @property
    def retries(self) -> int:
        return self.task.retries if self.job.retries is None else self.job.retries


class Marks(Protocol):
    """Where a worker writes down what it is doing, for those who look when it cannot speak any more."""

    def enlist(self, incarnation: str) -> None:
        """Under which name the broker knows this worker."""
        ...

    def start(self, slot: int, id: str, deadline: float, again: float) -> bool:
        """A job starts. ``deadline`` on the monotonic clock (0: none); ``again``: seconds until its next run if
        it is killed at the deadline (-1: it fails). False: it must not, what has not started is being taken back."""
        ...

    def clear(self, slot: int) -> None:
        """User code of that slot has ended."""
        ...

    def hurry(self, slot: int, id: str) -> None:
        """If this job still runs there its limit is now."""
        ...


class NoMarks:
    """For a worker inside somebody's process, whose death nobody watches."""

    def enlist(self, incarnation: str) -> None: ...
    def start(self, slot: int, id: str, deadline: float, again: float) -> bool:
        return True

    def clear(self, slot: int) -> None: ...
    def hurry(self, slot: int, id: str) -> None: ...
