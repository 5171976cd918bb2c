"""What a running task can ask about itself."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass

from .job import WIRE_VERSION, Job

__all__ = ["JobContext", "current_job", "entered"]

_NOWHERE = Job(WIRE_VERSION, "", "", "", b"")


@dataclass(frozen=True, slots=True)
class JobContext:
    """The job that runs here. Outside a job it exists too: empty id, attempt 1."""

    job: Job = _NOWHERE
    #: 1 on the first run.
    attempt: int = 1
    #: Name of the worker, empty outside one.
    worker: str = ""

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
