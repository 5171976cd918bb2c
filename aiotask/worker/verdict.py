"""The verdict on a job after a run: a pure function of the run and of the error that it raised."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from enum import Enum

import msgspec

from ..backoff import exponential
from ..errors import (
    DependencyFailed,
    Interrupted,
    JobCancelled,
    JobError,
    JobExpired,
    JobTimeout,
    Retry,
    SerializationError,
    WorkerLost,
)
from ..job import Meta, Obituary, Status, with_attempt
from ..log.events import JobEvent
from ..tasks.options import seconds
from ..wire.error_form import is_a, members_of, text_of
from ..wire.error_info import is_of_another_job
from ..wire.serializer import OtherPython
from .run import Run

__all__ = ["MAX_DEATHS", "SUCCEEDED", "WAITS", "Verdict", "What", "convict", "judge", "next_meta"]

logger = logging.getLogger("aiotask.worker")

#: Number of processes that may die while they run a job; then it is given up.
MAX_DEATHS = 3


class What(Enum):
    """The kinds of verdicts, each with the status that the job has then and the event in the log."""

    SUCCESS = Status.SUCCESS, JobEvent.SUCCEEDED
    FAILED = Status.FAILED, JobEvent.FAILED
    CANCELLED = Status.CANCELLED, JobEvent.CANCELLED
    EXPIRED = Status.EXPIRED, JobEvent.EXPIRED
    # The job goes on: after a delay, when the jobs that it has returned have ended, in a worker that has what this
    # worker lacks, or as if it had not been claimed.
    RETRY = Status.RETRYING, JobEvent.RETRYING
    WAIT = Status.WAITING, JobEvent.WAITING
    PARK = Status.PARKED, JobEvent.PARKED
    RELEASE = Status.PENDING, JobEvent.RELEASED

    def __init__(self, status: Status, event: JobEvent) -> None:
        self.status = status
        self.event = event


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one job after a run.

    Attributes:
        error: the error that the job ends with, or the reason why it runs again.
        delay: seconds until the next run of a job that is retried.
        need: what a worker must have to run a job that is parked.
        timed_out: whether the error is the job's own time limit.
    """

    what: What
    error: BaseException | None = None
    delay: float = 0.0
    need: str = ""
    timed_out: bool = False

    @property
    def is_failure(self) -> bool:
        """Whether the run ended with an error of the task."""
        return self.what is What.FAILED or self.what is What.RETRY

    def event(self, *, dead: bool) -> JobEvent:
        """The event of this verdict in the log; ``dead``: the job becomes a dead letter."""
        if dead and self.error is not None:
            return JobEvent.DEAD
        return JobEvent.TIMEOUT if self.timed_out and self.what is What.FAILED else self.what.event


SUCCEEDED = Verdict(What.SUCCESS)
#: The run has returned Refs, and the broker has accepted the jobs that they stand for.
WAITS = Verdict(What.WAIT)


def judge(run: Run, error: BaseException | None) -> Verdict:
    """The verdict on a job: a pure function of the run and the error that it raised (None: it returned)."""
    if error is None:
        return SUCCEEDED
    verdict = _of_error(run, error)
    if verdict.what is What.RETRY and 0 < run.expires_mono <= time.monotonic() + verdict.delay:
        # The job would expire before its next run: it ends now, with the error of this one.
        return Verdict(What.FAILED, _last_error(run, verdict), timed_out=verdict.timed_out)
    return verdict


def _last_error(run: Run, verdict: Verdict) -> BaseException | None:
    error = verdict.error
    if error is None or not is_a(error, Retry):
        return error
    return error.__cause__ or JobError(
        f'Job "{run.job.id}" ({run.task.name}) asked to be run again, but it would have expired before that.'
    )


def _of_error(run: Run, error: BaseException) -> Verdict:
    if run.cancelled:
        return Verdict(What.CANCELLED, JobCancelled(f'Job "{run.job.id}" ({run.task.name}) was cancelled.'))
    if is_a(error, JobExpired) and not run.started_at:
        return Verdict(What.EXPIRED, error)
    if is_a(error, DependencyFailed) and not run.started_at:
        # Another run would find the same outcome upstream.
        return Verdict(What.FAILED, error)
    if run.stopped and _comes_of_a_cancel(error):
        return Verdict(What.RELEASE)
    if is_a(error, OtherPython):
        return Verdict(What.PARK, error, need=error.need)
    timed_out = is_a(error, JobTimeout) and not is_of_another_job(error, run.job.id)
    failures = run.delivery.meta.attempt
    if is_a(error, Retry):
        if failures > run.retries:
            cause: BaseException | None = error.__cause__
            if cause is None:
                cause = JobError(
                    f'Job "{run.job.id}" ({run.task.name}) asked to be run again'
                    f"{f' ({text_of(error)})' if text_of(error) else ''}, and no retry was left after {failures} runs."
                )
            return Verdict(What.FAILED, cause)
        delay = getattr(error, "delay", None)  # a subclass may not have called __init__
        return Verdict(What.RETRY, error, _pause(run) if delay is None else delay)
    if is_a(error, asyncio.CancelledError):
        error = JobCancelled(f'Job "{run.job.id}" ({run.task.name}) cancelled itself: it raised CancelledError.')
    if failures <= run.retries and is_a(error, run.task.retry_on) and not is_a(error, SerializationError):
        return Verdict(What.RETRY, error, _pause(run), timed_out=timed_out)
    return Verdict(What.FAILED, error, timed_out=timed_out)


def _comes_of_a_cancel(error: BaseException) -> bool:
    """Whether a cancel raised this error, or the task did while it handled a cancel; never true of ``Retry``."""
    if is_a(error, Retry):
        return False
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if is_a(error, (asyncio.CancelledError, Interrupted)):
            return True
        if is_a(error, BaseExceptionGroup) and any(map(_comes_of_a_cancel, members_of(error))):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return False


def _pause(run: Run) -> float:
    """Seconds until the next run, by the task's backoff; by the default backoff if the task's own one fails."""
    failures = run.delivery.meta.attempt
    try:
        return seconds(run.task.backoff(failures), "backoff")
    except Exception as error:
        logger.error('The backoff of task "%s" failed, so the default applies: %s', run.task.name, text_of(error))
        return exponential()(failures)


def convict(run: Run) -> Verdict:
    """The verdict on a job during which too many processes died."""
    meta, known = run.delivery.meta, run.delivery.meta.obituary or Obituary()
    parts = [
        f'Job "{run.job.id}" ({run.task.name}) was given up: {meta.deaths} processes died while they ran it, '
        f"the last one by {meta.reason or 'an unknown cause'}."
    ]
    if known.peak_memory:
        parts.append(f"It held {known.peak_memory / 1e6:,.0f} MB of memory at most.")
    parts.append(f"The job is kept as a dead letter: aiotask dead show {run.job.id}")
    text = " ".join(parts)
    for title, lines in (
        ("Its last stack, innermost frame first", known.stack),
        ("Its last lines of stderr", known.stderr),
    ):
        if lines:
            text += f"\n{title}:\n" + "\n".join(f"  {line.strip()}" for line in lines.splitlines())
    ended = None if meta.obituary is None else known.exit_code if not known.signal else None
    return Verdict(
        What.FAILED,
        WorkerLost(text, known.signal or None, ended, known.peak_memory or None, known.stack, known.stderr),
    )


def next_meta(run: Run, error: BaseException | None) -> Meta:
    """The counters of the next run, after this one has raised an error."""
    meta = msgspec.structs.replace(run.meta, attempt=run.delivery.meta.attempt + 1)
    text = "" if error is None else f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
    return with_attempt(meta, run.finished_at or time.time(), run.worker, "retried", text)
