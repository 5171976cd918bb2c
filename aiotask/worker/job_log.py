"""What a worker logs of its jobs: that they start, and what becomes of them."""

from __future__ import annotations

import time

from ..broker import Delivery
from ..errors import Retry, WorkerLost
from ..job import Job, is_paused_need
from ..log.events import EventLog, JobEvent
from ..wire.error_form import text_of
from .run import Run
from .verdict import Verdict, What

__all__ = ["JobLog"]

# Reading an attribute of an enum class takes ten times as long as reading a global of the module.
_STARTED = JobEvent.STARTED


class JobLog:
    """Logs the events of one worker's jobs."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def started(self, run: Run) -> None:
        """Log that a run has started, and how late."""
        run.start_logged = True
        if self._log.counts(_STARTED, run.job.task, run.started_mono):
            return
        late = None
        if run.delivery.meta.attempt == 1 and run.job.due_at:
            late = (run.started_at or time.time()) - run.job.due_at
        self._log.job(
            JobEvent.STARTED,
            id=run.job.id,
            task=run.job.task,
            attempt=run.delivery.meta.attempt,
            late=late,
            arguments=run.arguments,
            queue=run.job.queue,
        )

    def ended(self, run: Run, verdict: Verdict, *, dead: bool) -> None:
        """Log what became of a run."""
        if verdict.error is None and self._log.counts(verdict.what.event, run.job.task, run.started_mono + run.took):
            return
        detail = stack = ""
        if verdict.error is not None:
            detail = f"{type(verdict.error).__name__}: {text_of(verdict.error)}"
            if isinstance(verdict.error, WorkerLost):
                # The last stack of the process that died, and its last lines on stderr.
                detail, _, stack = detail.partition("\n")
            if run.item >= 0:
                detail = f"item {run.item}: {detail}"
            if verdict.what is What.RETRY:
                left = run.retries - run.delivery.meta.attempt + 1
                detail += f" (again in {verdict.delay:.1f} s, {left} left)"
        self._log.job(
            verdict.event(dead=dead),
            id=run.job.id,
            task=run.job.task,
            attempt=run.delivery.meta.attempt,
            # A job that has expired, or behind one that has failed, was not run.
            took=run.took if run.started_at and run.info is None else None,
            detail=detail,
            queue=run.job.queue,
            error=verdict.error if verdict.is_failure and run.info is None else None,
            traceback=run.traceback if _is_of_interest(verdict) else "",
            stack=stack,
        )

    def parked(self, job: Job, need: str) -> None:
        """Log that this worker does not have the task of a job, or is of an older release than the job needs, or that
        the task is paused."""
        detail = "this worker does not have the task; the job waits for one that does"
        if need.startswith("release:"):
            detail = "the job needs a newer release of aiotask than this worker's; it waits for such a worker"
        elif is_paused_need(need):
            detail = "it is paused; the job waits until that is over"
        self._log.job(JobEvent.PARKED, id=job.id, task=job.task, queue=job.queue, detail=detail)

    def rejected(self, delivery: Delivery, reason: str) -> None:
        """Log that a delivery is no job of this app."""
        self._log.job(JobEvent.REJECTED, id=delivery.id[:100], task="?", detail=reason)


def _is_of_interest(verdict: Verdict) -> bool:
    """Whether the log shows the traceback. That of a retry that the task asked for does not help without a cause."""
    error = verdict.error
    if isinstance(error, Retry):
        return error.__cause__ is not None or error.__context__ is not None
    return verdict.is_failure
