"""A run of a job in a worker, and what the run needs of the worker around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from ..broker import Delivery
from ..context import JobContext
from ..errors import SealError
from ..job import Job, Meta
from ..outcome import ErrorInfo
from ..ref import Found
from ..results.progress import Progress, progress_of
from ..tasks.task import Definition
from ..values.flow import Flow
from ..wire.checkpoints import dump_state, load_state
from ..wire.serializer import Serializer
from .scope import Scope

if TYPE_CHECKING:
    from ..client.planning import Plan
    from .batch import Batch

__all__ = ["Board", "Budget", "NoBoard", "Owner", "Returned", "Run", "Steps"]


class Budget(NamedTuple):
    """CPU and memory that a run may use (0: no limit); in ``cpu_again`` and ``memory_again`` the seconds until the job
    runs again if the run exceeds that limit (-1: the job fails)."""

    #: Native id of the thread of a sync job; 0: the job runs in the loop.
    thread: int = 0
    #: Seconds of CPU that the run may use, and that its thread had used as the run started.
    cpu: float = 0.0
    cpu_before: float = 0.0
    cpu_again: float = -1.0
    #: On the monotonic clock: when the present step of an async job will have used up the CPU seconds that are left, or
    #: when a job was asked to end because it had used them up; 0: the job waits.
    until: float = 0.0
    #: Bytes of memory that the run may use, and the size of the process in bytes as the run started.
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
    """One run of one job: the claimed delivery, the call, and its result."""

    delivery: Delivery
    job: Job
    task: Definition
    #: Name of the worker.
    worker: str
    #: The account of the worker that has claimed the job; None until the worker takes the run in.
    owner: Owner | None = None
    #: Seconds this run may take; None: no limit.
    timeout: float | None = None
    slot: int = -1
    started_at: float = 0.0
    started_mono: float = 0.0
    finished_at: float = 0.0
    took: float = 0.0
    #: CPU seconds and peak memory in bytes that the run used (see ``budget.py``). None: not measured.
    cpu: float | None = None
    memory: int | None = None
    #: What the run may use, as the board has it.
    budget: Budget | None = None
    #: Which part of the budget was used up, in words; empty: none.
    exceeded: str = ""
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    value: bytes | None = None
    error: BaseException | None = None
    #: The coroutine of an async run that is suspended, or was.
    coroutine: Any = None
    #: The traceback as text, made where the error was caught.
    traceback: str = ""
    #: Whether the start of the run is in the log.
    start_logged: bool = False
    #: Whether a cancel has reached the run.
    cancelled: bool = False
    #: Whether the worker stops and gives the job back.
    stopped: bool = False
    #: Whether the job runs once at most, and the broker knows that this run is about to start.
    begun: bool = False
    #: Whether the run's own end is discarded: it did not react to a cancel and has an outcome already, or it is a call
    #: of a batch task, whose items end.
    abandoned: bool = False
    #: Whether the run has a seat (see ``Seats``).
    seated: bool = False
    #: Number of asyncio tasks of the run that wait for outcomes.
    waits: int = 0
    #: Whether the run is over, so that it needs no seat any more.
    ended: bool = False
    #: Results that the run has asked to cancel since it was stopped.
    deferred_cancels: list[Any] | None = None
    #: The place of the job in its graph; None: it is in none. And for each job upstream of it, in the order of
    #: ``Flow.upstream``: the serialized value, or the error.
    flow: Flow | None = None
    upstream: Sequence[bytes | Exception] = ()
    #: Whether the run is more than a call of the function: the job is a node of a graph, or the task has middleware or
    #: providers. Decided once for a run, since most are plain.
    is_special: bool = False
    #: Whether the body is a value that an earlier run has returned: it can be completed more than once.
    calls_nothing: bool = False
    #: The call of a chunk that runs now, or that has failed: counted from 0; -1: the job is no chunk.
    item: int = -1
    #: The value with which the run has ended, and which other jobs have to complete.
    returned: Returned | None = None
    #: When the job expires, by the monotonic clock, as the broker said; 0: it does not, or the broker has not said.
    expires_mono: float = 0.0
    #: Whether the run has reported how far it is, or an earlier one has left a checkpoint.
    has_reported: bool = False
    #: The state that the job has saved last, as a body; or the error with which it could not be opened.
    saved: bytes | SealError | None = None
    #: The error with which the job ends, in the form in which it is sent, where it was made without a run.
    info: ErrorInfo | None = None
    #: Called, or for an async task awaited, in place of the function; None: the function is called.
    performs: Callable[..., Any] | None = None
    #: The call of a batch task that the run is an item of, from when its items are complete; None: there is none.
    batch: Batch | None = None

    @property
    def title(self) -> str:
        """The run for people, as the subject of a sentence."""
        return f'Job "{self.job.id}" ({self.task.name})'

    @property
    def context(self) -> JobContext:
        """The JobContext that the task sees."""
        delivery = self.delivery
        meta, seat = delivery.meta, self if self.task.is_async else None
        # By position: every run makes one, and a name costs time.
        return JobContext(
            self.job, meta.attempt, self.worker, seat, delivery.returned, meta.series, {}, self, (), False, meta.deaths
        )

    # ---- as the seat that the client sees

    def leave(self) -> bool:
        return self.owner is not None and self.owner.asyncs.leave_seat(self)

    async def come_back(self) -> None:
        assert self.owner is not None
        await self.owner.asyncs.come_back(self)

    def give_up(self) -> None:
        assert self.owner is not None
        self.owner.asyncs.give_up(self)

    def defers_cancel(self, result: Any) -> bool:
        if not self.stopped or self.cancelled or self.ended:
            return False
        self.deferred_cancels = [*(self.deferred_cancels or ()), result]
        return True

    # ---- as the reporter that the task sees

    def progress(self, current: float, total: float | None, message: str) -> None:
        progress = progress_of(current, total, message)
        if self.owner is not None and self.owner.reports is not None and not self.ended:
            self.owner.reports.put(self, progress)
            self.has_reported = True

    def checkpoint(self, state: object) -> None:
        owner, task = self.owner, self.task
        if owner is not None and owner.reports is not None and not self.ended:
            body = dump_state(owner.serializer, task.name, task.function, state)
            owner.reports.put_checkpoint(self, body)
            self.saved, self.has_reported = body, True

    def last_checkpoint(self, type: Any) -> Any:
        owner, task, saved = self.owner, self.task, self.saved
        if owner is not None and owner.reports is not None:
            owner.reports.check("current_job().last_checkpoint()")
        if isinstance(saved, SealError):
            raise saved
        if owner is None or saved is None:
            return None
        return load_state(owner.serializer, task.name, task.function, saved, type)

    @property
    def meta(self) -> Meta:
        """The counters of the job now that the run is over, before any is counted up."""
        meta = self.delivery.meta
        return meta if self.saved is None or meta.saved else msgspec.structs.replace(meta, saved=True)

    @property
    def retries(self) -> int:
        if self.task.acks == "early":
            return 0
        return self.task.retries if self.job.retries is None else self.job.retries


class Reporting(Protocol):
    """The agent that sends progress and checkpoints of runs."""

    def put(self, run: Run, progress: Progress) -> None: ...
    def put_checkpoint(self, run: Run, body: bytes) -> None: ...
    def check(self, call: str) -> None: ...


class SeatKeeper(Protocol):
    """The lane of async runs, as a run leaves its seat and comes back to it."""

    def leave_seat(self, run: Run) -> bool: ...
    async def come_back(self, run: Run) -> None: ...
    def give_up(self, run: Run) -> None: ...


class Owner(Protocol):
    """The account of one worker (``InHand``), as its runs and the threads that they share see it."""

    @property
    def serializer(self) -> Serializer:
        """The serializer of the app whose jobs the worker runs."""
        ...

    @property
    def asyncs(self) -> SeatKeeper: ...

    @property
    def outlets(self) -> Any:
        """Where generators emit their items (``streams.Outlets``)."""
        ...

    @property
    def reports(self) -> Reporting | None:
        """Where runs report how far they are; None: nowhere."""
        ...

    #: What the jobs share: the worker's loop, and the values of its lifespan.
    scope: Scope

    def collect(self, runs: list[Run]) -> None:
        """Take back sync runs that have ended; for the worker's loop."""
        ...


class Steps(Protocol):
    """An array of numbers in memory, of which only the first is used."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Board(Protocol):
    """Where a worker records what it is doing, for other processes to read when the worker cannot answer any more."""

    def enlist(self, incarnation: str) -> None:
        """Record the name under which the broker knows this worker."""
        ...

    @property
    def steps(self) -> Steps:
        """Number 0: the slot, counted from 1, of the async job whose code the loop ran last."""
        ...

    def start(self, slot: int, id: str, deadline: float, again: float, now: float, task: str) -> bool:
        """Record that a job starts. False: the job must not start, since the keeper takes back what has not started.

        Args:
            deadline: on the monotonic clock; 0: the job has none.
            again: seconds until the next run of the job if it is killed at the deadline; -1: the job fails.
        """
        ...

    def limit(self, slot: int, id: str, budget: Budget) -> None:
        """Record what the job that has just started in this slot may use."""
        ...

    def clear(self, slot: int) -> None:
        """Record that the user code of this slot has ended."""
        ...

    def set_away(self, slot: int, away: bool) -> None:
        """Record that the job of this slot waits for the outcome of another one, or that it goes on."""
        ...

    def hurry(self, slot: int, id: str) -> None:
        """Make now the deadline of this job, if it still runs in this slot."""
        ...


class NoBoard:
    """The board of a worker inside a process of the user, whose death is not watched: it records nothing."""

    def __init__(self) -> None:
        self.steps: Steps = [0]

    def enlist(self, incarnation: str) -> None: ...
    def start(self, slot: int, id: str, deadline: float, again: float, now: float, task: str) -> bool:
        return True

    def limit(self, slot: int, id: str, budget: Budget) -> None: ...
    def clear(self, slot: int) -> None: ...
    def set_away(self, slot: int, away: bool) -> None: ...
    def hurry(self, slot: int, id: str) -> None: ...
