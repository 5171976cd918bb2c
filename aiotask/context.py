"""What a running task can ask about itself."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeVar, overload

import msgspec

from .errors import ConfigError
from .job import WIRE_VERSION, Job, child_digest, child_id, family, flow_of

__all__ = ["JobContext", "Seat", "current_job", "entered", "job_fields", "sending_job", "unseated"]

T = TypeVar("T")
_NOWHERE = Job(WIRE_VERSION, "", "", "", b"")
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Seat(Protocol):
    """The place of an async job among those that run at a time; others may take it while the job waits for a job."""

    #: Whether the run has ended.
    ended: bool

    def leave(self) -> bool:
        """Give the seat up while the job waits. False: the job has no seat here."""
        ...

    async def come_back(self) -> None:
        """Wait until there is a seat for the job again."""
        ...

    def give_up(self) -> None:
        """The job was cancelled while it waited: it takes no seat again."""
        ...

    def defers_cancel(self, result: object) -> bool:
        """Whether the cancel of this result is put off: the waiting job goes back to its queue, and its next run takes
        over the jobs that it has sent. The result's job is cancelled only if this run ends after all."""
        ...


class Reporter(Protocol):
    """The run of a job, as it reports how far it is."""

    def progress(self, current: float, total: float | None, message: str) -> None: ...
    def checkpoint(self, state: object) -> None: ...
    def last_checkpoint(self, type: Any) -> Any: ...


class JobContext(msgspec.Struct, frozen=True):
    """The job that is running in this task or thread. Outside a job its ``id`` is empty and its ``attempt`` 1."""

    #: What to do instead of writing a JobContext as JSON, for the error.
    INSTEAD_IN_JSON: ClassVar[str] = "{verb} current_job().id"

    job: Job = _NOWHERE
    #: 1 on the first run.
    attempt: int = 1
    #: Name of the worker; empty outside a worker.
    worker: str = ""
    #: The seat of an async job, which limits how many run at a time.
    seat: Seat | None = None
    #: An earlier run of this attempt may have sent jobs: the job came back to its queue, or was parked.
    may_repeat: bool = False
    #: ``Meta.series`` of the job.
    series: int = 0
    #: Calls that this run has sent: by the digest of a call, a counter of equal calls; under "", the beginning of the
    #: digests. None outside a job, and in a process that the job has forked.
    calls: dict[str, Any] | None = None
    #: Where the run reports how far it is; None outside a worker.
    reporter: Reporter | None = None
    #: The jobs of a batch, in the order of its items; the context of the batch itself is that of the first one. Empty
    #: in a job that is no batch.
    items: tuple[JobContext, ...] = ()
    #: Whether the job is an item of a batch, and this one of ``items``.
    is_item: bool = False
    #: Worker processes that have died while they ran the job.
    deaths: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the seat, which belongs to the worker: a context that is sent or kept describes only the job.
        return JobContext, (self.job, self.attempt, self.worker)

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def parent(self) -> str:
        """The id of the job that sent this one as it ran; empty: no job did."""
        return self.job.more.parent if self.job.more is not None else ""

    @property
    def graph(self) -> str:
        """The id of the graph that the job belongs to; empty: it is in none."""
        return flow.graph if (flow := flow_of(self.job)) is not None else ""

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.job.task

    @property
    def headers(self) -> Mapping[str, str]:
        """Text by name that the middleware of the sender attached to the call."""
        more = self.job.more
        return _NO_HEADERS if more is None or more.headers is None else MappingProxyType(more.headers)

    @property
    def logger(self) -> logging.Logger:
        """The logger ``aiotask.task.MODULE.FUNCTION`` of the task that is running."""
        return logging.getLogger(f"aiotask.task.{self.job.task.replace(':', '.')}" if self.job.task else "aiotask.task")

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Report how far the job is, for ``async for p in result.progress()`` and ``aiotask watch ID``.

        It costs little, and may be called often, from any thread: the worker sends the latest report every 0.1 s at
        most.

        Outside a worker it does nothing.

        Args:
            current: how much is done.
            total: how much there is to do; None: it is not known.
            message: what is being done, up to 1,000 characters.

        Raises:
            ConfigError: the values are not finite numbers and text, the broker keeps no progress, or this is a batch or
                an item of one.
        """
        self._refuse_items("progress report")
        if self.reporter is not None and self.calls is not None:
            self.reporter.progress(current, total, message)

    def checkpoint(self, state: object) -> None:
        """Save how far the job has come, for its next run: after a retry, or after the death of its process or host.

        The latest state counts. It is serialized here, and the worker sends it every 0.1 s at most, and before the run
        ends: a run may call this often, from any thread. After a death the next run may find a state that is 0.1 s old.
        Nothing is left of it when the job has ended.

        Outside a worker it does nothing.

        Args:
            state: a position rather than data: 256 kB at most, as the app's serializer writes it.

        Raises:
            SerializationError: the state cannot be serialized, or is too large.
            ConfigError: the broker keeps no checkpoints, or this is a batch or an item of one.
        """
        self._refuse_items("checkpoint")
        if self.reporter is not None and self.calls is not None:
            self.reporter.checkpoint(state)

    @overload
    def last_checkpoint(self) -> Any: ...
    @overload
    def last_checkpoint(self, type: type[T]) -> T | None: ...
    def last_checkpoint(self, type: Any = None) -> Any:
        """The state that this job has saved last, in an earlier run or in this one. None: it has saved none.

        Outside a worker it is None.

        Args:
            type: of the state. With ``serializer="json"`` it is read as this type, otherwise checked to be one. None:
                any.

        Raises:
            SerializationError: the state is of another type, or cannot be read.
            SealError: what the broker has is not the state of this job.
            ConfigError: the broker keeps no checkpoints, or this is a batch or an item of one.
        """
        self._refuse_items("checkpoint")
        return None if self.reporter is None else self.reporter.last_checkpoint(type)

    def _refuse_items(self, what: str) -> None:
        if self.items or self.is_item:
            raise ConfigError(
                f'Task "{self.job.task}": neither a batch nor an item of it has a {what}, since one call runs all '
                "items together. Make what needs one a task without batch=."
            )

    @property
    def is_sending(self) -> bool:
        """Whether jobs that are sent here are children of this run, which goes on, in this very process."""
        return self.calls is not None and (self.seat is None or not self.seat.ended)

    def child_id(self, call: tuple[str | float | bool | None, ...], body: bytes) -> str:
        """The id of a job that this run sends; a run that repeats this one makes the same id.

        Args:
            call: all that identifies the call, except for its serialized arguments, the ``body``.
        """
        calls = self.calls
        assert calls is not None
        hashing = calls.get("")
        if hashing is None:
            hashing = calls[""] = family(self.job, self.attempt, self.series)
        digest = child_digest(hashing, call, body)
        # Equal calls are numbered in their order, by two steps that are each atomic among threads.
        return child_id(digest, next(calls.setdefault(digest, itertools.count())))


entered: ContextVar[JobContext] = ContextVar("aiotask_job", default=JobContext())  # noqa: B039 - frozen


def _forget_calls() -> None:
    """Drop the calls in a process that a job forks: those that it sends are not the job's under the same numbers."""
    context = entered.get()
    if context.calls is not None:
        entered.set(msgspec.structs.replace(context, calls=None))


os.register_at_fork(after_in_child=_forget_calls)


def current_job() -> JobContext:
    """The JobContext of the job that is running in this task or thread; outside a job, one with an empty ``id``."""
    return entered.get()


def sending_job() -> JobContext | None:
    """The job whose children the jobs are that are sent here; None outside a job."""
    here = entered.get()
    return here if here.is_sending else None


def job_fields() -> dict[str, Any] | None:
    """The fields of log records about the job that runs here; None outside a job."""
    here = entered.get()
    job = here.job
    if not job.id:
        return None
    return {"job_id": job.id, "task": job.task, "attempt": here.attempt, "queue": job.queue, "worker": here.worker}


async def unseated(waiting: Awaitable[T]) -> T:
    """The result of ``waiting``; meanwhile the job leaves its seat, perhaps to the very job that it waits for."""
    seat = current_job().seat
    if seat is None or not seat.leave():
        return await waiting
    try:
        return await waiting
    except asyncio.CancelledError:
        seat.give_up()
        seat = None
        raise
    finally:
        if seat is not None:
            await seat.come_back()
