"""What a running task can ask about itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import msgspec

from .job import WIRE_VERSION, Job

__all__ = ["JobContext", "Seat", "current_job", "entered", "job_fields", "unseated"]

T = TypeVar("T")
_NOWHERE = Job(WIRE_VERSION, "", "", "", b"")


class Seat(Protocol):
    """An async job's place among those that run at a time; it is left to others while the job waits for one of them."""

    def leave(self) -> bool:
        """The job begins to wait. False: here it has no seat to leave."""
        ...

    async def come_back(self) -> None:
        """The job goes on, once there is a seat again."""
        ...

    def give_up(self) -> None:
        """The job is cancelled while it waits."""
        ...


class JobContext(msgspec.Struct, frozen=True):
    """The job that runs here. Outside a job it exists too: empty id, attempt 1."""

    job: Job = _NOWHERE
    #: 1 on the first run.
    attempt: int = 1
    #: Name of the worker, empty outside one.
    worker: str = ""
    #: What limits how many async jobs run at a time.
    seat: Seat | None = None

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the task."""
        return logging.getLogger(f"aiotask.task.{self.job.task.replace(':', '.')}" if self.job.task else "aiotask.task")


entered: ContextVar[JobContext] = ContextVar("aiotask_job", default=JobContext())  # noqa: B039 - frozen


def current_job() -> JobContext:
    """The context of the job that is running in this task or thread."""
    return entered.get()


def job_fields() -> dict[str, Any] | None:
    """What log records say of the job that runs here; None outside a job."""
    here = entered.get()
    job = here.job
    if not job.id:
        return None
    return {"job_id": job.id, "task": job.task, "attempt": here.attempt, "queue": job.queue, "worker": here.worker}


async def unseated(waiting: Awaitable[T]) -> T:
    """What it brings; a job that waits leaves its seat in the worker, perhaps to the very job that it waits for."""
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
