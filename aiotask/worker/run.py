"""One delivery on its way through a worker, and what is known of it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ..broker import Delivery
from ..context import JobContext
from ..job import Job
from ..tasks import Definition

__all__ = ["Marks", "NoMarks", "Run"]


class Run(msgspec.Struct, eq=False):
    """One run of one job: what was claimed, how it is called, what came of it."""

    delivery: Delivery
    job: Job
    task: Definition
    #: Name of the worker.
    worker: str
    #: The worker that takes it back when it has ended.
    owner: Any = None
    #: Seconds this run may take; None: no limit.
    timeout: float | None = None
    slot: int = -1
    started_at: float = 0.0
    started_mono: float = 0.0
    finished_at: float = 0.0
    took: float = 0.0
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    value: bytes | None = None
    error: BaseException | None = None
    #: The traceback as text, made where the error was caught.
    traceback: str = ""
    #: Its start is in the log.
    said: bool = False
    #: Somebody asked to cancel it; the worker stops and gives it back.
    cancelled: bool = False
    stopped: bool = False
    #: See ``Seats``: it has one; its tasks that wait for outcomes; it needs none any more.
    seated: bool = False
    waits: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        limit = self.task.timeout if self.job.timeout is None else self.job.timeout
        self.timeout = limit or None

    @property
    def context(self) -> JobContext:
        """What the task can ask about itself."""
        return JobContext(self.job, self.delivery.meta.attempt, self.worker, self if self.task.is_async else None)

    # ---- as the seat that the client sees

    def leave(self) -> bool:
        return bool(self.owner.leave_seat(self))

    async def come_back(self) -> None:
        await self.owner.seats.come_back(self)

    def give_up(self) -> None:
        self.owner.seats.give_up(self)

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
