"""One delivery on its way through a worker, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ..broker import Delivery
from ..context import JobContext
from ..flow import Flow, Kind
from ..job import Job
from ..outcome import ErrorInfo
from ..planning import Plan
from ..ref import Found
from ..tasks import Definition

__all__ = ["Budget", "Marks", "NoMarks", "Returned", "Run", "Steps"]


class Budget(NamedTuple):
    """What a run may use beside time (0: as it likes); seconds until it runs again if that ends it (-1: it fails)."""

    #: Native id of the thread of a sync job; 0: it runs in the loop.
    thread: int = 0
    #: Seconds of CPU, and what that thread had used as the run started.
    cpu: float = 0.0
    cpu_before: float = 0.0
    cpu_again: float = -1.0
    #: On the monotonic clock: when the present step of an async job will have used up the rest, or when a job was
    #: asked to end for that; 0: it waits.
    until: float = 0.0
    #: Bytes, and the size of the process as the run started.
    memory: float = 0.0
    memory_before: float = 0.0
    memory_again: float = -1.0


class Returned(NamedTuple):
    """The value of a task with the Refs that it holds: other jobs have to end before it is complete."""

    #: The value written by the app's serializer, each Ref as its number.
    body: bytes
    found: Found
    #: The calls that the Refs stand for, and those upstream of them.
    plan: Plan


class Run(msgspec.Struct, eq=False):
    """One run of one job: what was claimed, how it is called, what came of it."""

    delivery: Delivery
    job: Job
    task: Definition
    #: Name of the worker.
    worker: str
    #: What its worker has in hand (``InHand``), which takes it back when it has ended.
    owner: Any = None
    #: Seconds this run may take; None: no limit.
    timeout: float | None = None
    slot: int = -1
    started_at: float = 0.0
    started_mono: float = 0.0
    finished_at: float = 0.0
    took: float = 0.0
    #: What it used: see ``budget.py``. None: not measured.
    cpu: float | None = None
    memory: int | None = None
    #: What it may use, as it stands on the board; and which of it was used up, in words.
    budget: Budget | None = None
    exceeded: str = ""
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    value: bytes | None = None
    error: BaseException | None = None
    #: Of an async run that is suspended, or was.
    coroutine: Any = None
    #: The traceback as text, made where the error was caught.
    traceback: str = ""
    #: Its start is in the log.
    said: bool = False
    #: A cancel has reached it.
    cancelled: bool = False
    #: The worker stops, and gives it back.
    stopped: bool = False
    #: It runs once at most, and the broker knows that it is about to.
    begun: bool = False
    #: It did not react to a cancel, and has an outcome already; what it still brings is discarded.
    abandoned: bool = False
    #: See ``Seats``: it has one; its tasks that wait for outcomes; it needs none any more.
    seated: bool = False
    waits: int = 0
    ended: bool = False
    #: Results that it has asked to cancel since it was stopped.
    kept: list[Any] | None = None
    #: The place of the job in its graph; None: it is in none. And for each job upstream of it, in the order of
    #: ``Flow.upstream``: the serialized value, or the error.
    flow: Flow | None = None
    upstream: Sequence[bytes | Exception] = ()
    #: The call of a chunk that runs now, or that has failed: counted from 0; -1: the job is no chunk.
    item: int = -1
    #: It has ended with a value that other jobs have to complete.
    returned: Returned | None = None
    #: The error with which the job ends, in the form in which it is sent, where it was made without a run.
    info: ErrorInfo | None = None

    @property
    def context(self) -> JobContext:
        """What the task can ask about itself."""
        delivery = self.delivery
        meta, seat = delivery.meta, self if self.task.is_async else None
        return JobContext(self.job, meta.attempt, self.worker, seat, delivery.returned, meta.series, {})

    # ---- as the seat that the client sees

    def leave(self) -> bool:
        return bool(self.owner.asyncs.leave_seat(self))

    async def come_back(self) -> None:
        await self.owner.asyncs.come_back(self)

    def give_up(self) -> None:
        self.owner.asyncs.give_up(self)

    def keeps(self, result: Any) -> bool:
        if not self.stopped or self.cancelled or self.ended:
            return False
        self.kept = [*(self.kept or ()), result]
        return True

    @property
    def calls_nothing(self) -> bool:
        """Whether the body is a value that an earlier run has returned: it can be completed more than once."""
        return self.flow is not None and self.flow.kind in (Kind.RETURNED, Kind.RETURNED_CHUNK)

    @property
    def retries(self) -> int:
        if self.task.acks == "early":
            return 0
        return self.task.retries if self.job.retries is None else self.job.retries


class Steps(Protocol):
    """One number in memory."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Marks(Protocol):
    """Where a worker writes down what it is doing, to be read when it cannot answer any more."""

    def enlist(self, incarnation: str) -> None:
        """Under which name the broker knows this worker."""
        ...

    @property
    def steps(self) -> Steps:
        """Number 0: the slot, counted from 1, of the async job whose code the loop ran last."""
        ...

    def start(self, slot: int, id: str, deadline: float, again: float, now: float, task: str) -> bool:
        """A job starts. ``deadline`` on the monotonic clock (0: none); ``again``: seconds until its next run if
        it is killed at the deadline (-1: it fails). False: it must not, what has not started is being taken back."""
        ...

    def limit(self, slot: int, id: str, budget: Budget) -> None:
        """What the job that has just started there may use."""
        ...

    def clear(self, slot: int) -> None:
        """User code of that slot has ended."""
        ...

    def set_away(self, slot: int, away: bool) -> None:
        """The job of that slot waits for the outcome of another one, or goes on."""
        ...

    def hurry(self, slot: int, id: str) -> None:
        """If this job still runs there its limit is now."""
        ...


class NoMarks:
    """For a worker inside a process of the user, whose death is not watched."""

    def __init__(self) -> None:
        self.steps: Steps = [0]

    def enlist(self, incarnation: str) -> None: ...
    def start(self, slot: int, id: str, deadline: float, again: float, now: float, task: str) -> bool:
        return True

    def limit(self, slot: int, id: str, budget: Budget) -> None: ...
    def clear(self, slot: int) -> None: ...
    def set_away(self, slot: int, away: bool) -> None: ...
    def hurry(self, slot: int, id: str) -> None: ...
