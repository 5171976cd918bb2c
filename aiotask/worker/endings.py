"""The clerk: writes down what became of a run, in the log and in the outcome for the broker."""

from __future__ import annotations

import time

from ..broker import Delivery, Finish, Requeue
from ..errors import BrokerError, Retry, SerializationError, WorkerLost
from ..job import WIRE_VERSION, Job, Status, decode_job
from ..log.events import EventLog, JobEvent
from ..outcome import ErrorInfo, Outcome, encode_outcome
from ..wire.error_form import text_of
from ..wire.error_info import error_info
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from .budget import SHORT
from .run import Run
from .verdict import Verdict, What, next_meta

__all__ = ["Clerk"]

# An attribute of an enum class costs ten of a module.
_STARTED = JobEvent.STARTED
#: Below this size an outcome is not what the broker objects to.
_LARGE = 100_000


class Clerk:
    """Knows how to word and seal the end of a run; decides nothing."""

    def __init__(
        self, *, worker: str, jobs_sealer: Sealer, outcomes_sealer: Sealer, serializer: Serializer, log: EventLog
    ) -> None:
        self._worker = worker
        self._jobs_sealer = jobs_sealer
        self._outcomes_sealer = outcomes_sealer
        self._serializer = serializer
        self._log = log

    # ---- for the broker

    def requeue(self, run: Run, verdict: Verdict) -> Requeue | None:
        """The way back into a queue, where the verdict says that the job goes on."""
        delivery, job = run.delivery, run.job
        if verdict.what is What.RETRY:
            return Requeue(delivery, job.queue, next_meta(run), delay=verdict.delay)
        if verdict.what is What.PARK:
            return Requeue(delivery, job.queue, delivery.meta, need=verdict.need, reply=job.reply)
        if verdict.what is What.RELEASE:
            return Requeue(delivery, job.queue, delivery.meta)
        return None

    def finish(self, run: Run, verdict: Verdict, *, dead: bool) -> Finish:
        """The outcome of a job that has ended, sealed."""
        job, delivery, status = run.job, run.delivery, verdict.what.status
        attempt, value, error = delivery.meta.attempt, run.value, None
        if verdict.error is not None:
            value, error = None, error_info(verdict.error, run.traceback, self._serializer, job.id)
            # Its retries are used up: somebody expected it to succeed in the end.
            dead = dead or (verdict.what is What.FAILED and attempt > 1)
        cpu = memory = 0
        if run.took >= SHORT:
            cpu, memory = _used(run)
        began, ended, worker = run.started_at, run.finished_at or time.time(), self._worker
        outcome = Outcome(
            WIRE_VERSION, job.id, job.task, status, attempt, worker, began, ended, value, error, cpu, memory
        )
        sealed = self._outcomes_sealer.seal(encode_outcome(outcome))
        return Finish(delivery, sealed, status, job.result_ttl, job.reply, dead)

    def lost(self, run: Run) -> bytes:
        """The outcome of a job that runs once at most, if its process dies."""
        reason = (
            f'Job "{run.job.id}" ({run.task.name}) was lost: the process or the host that ran it died, and with '
            'acks="early" it does not run again.'
        )
        error = ErrorInfo(f"{WorkerLost.__module__}.{WorkerLost.__qualname__}", reason)
        return self._seal(run.job, run.delivery, Status.FAILED, value=None, error=error, times=(time.time(), 0.0))

    def instead_of(self, item: Finish, error: BrokerError) -> Finish:
        """What to send where the broker will not have an outcome: that it was too large, if it was."""
        if len(item.outcome) < _LARGE:
            return item
        job = decode_job(self._jobs_sealer.open(item.delivery.sealed))
        reason = SerializationError(
            f'The outcome of job "{job.id}" ({job.task}) has {len(item.outcome):,} bytes, '
            f"and the broker rejected it: {error}"
        )
        sealed = self._seal(
            job,
            item.delivery,
            Status.FAILED,
            value=None,
            error=error_info(reason, "", self._serializer),
            times=(0.0, time.time()),
        )
        return Finish(item.delivery, sealed, Status.FAILED, job.result_ttl, job.reply, item.dead)

    def _seal(
        self,
        job: Job,
        delivery: Delivery,
        status: Status,
        *,
        value: bytes | None,
        error: ErrorInfo | None,
        times: tuple[float, float],
    ) -> bytes:
        attempt = delivery.meta.attempt
        outcome = Outcome(WIRE_VERSION, job.id, job.task, status, attempt, self._worker, *times, value, error)
        return self._outcomes_sealer.seal(encode_outcome(outcome))

    # ---- for people

    def started(self, run: Run) -> None:
        """Say that a run has started, and how late."""
        run.said = True
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
        """Say what became of a run."""
        if verdict.error is None and self._log.counts(verdict.what.event, run.job.task, run.started_mono + run.took):
            return
        detail = stack = ""
        if verdict.error is not None:
            detail = f"{type(verdict.error).__name__}: {text_of(verdict.error)}"
            if isinstance(verdict.error, WorkerLost):
                # Its last stack, and its last lines on stderr.
                detail, _, stack = detail.partition("\n")
            if verdict.what is What.RETRY:
                left = run.retries - run.delivery.meta.attempt + 1
                detail += f" (again in {verdict.delay:.1f} s, {left} left)"
        self._log.job(
            verdict.event(dead=dead),
            id=run.job.id,
            task=run.job.task,
            attempt=run.delivery.meta.attempt,
            took=run.took,
            detail=detail,
            queue=run.job.queue,
            error=verdict.error if verdict.is_failure else None,
            traceback=run.traceback if _is_of_interest(verdict) else "",
            stack=stack,
        )

    def parked(self, job: Job) -> None:
        """Say that this worker does not know a task."""
        detail = "this worker does not have the task; the job waits for one that does"
        self._log.job(JobEvent.PARKED, id=job.id, task=job.task, queue=job.queue, detail=detail)

    def rejected(self, delivery: Delivery, reason: str) -> None:
        """Say that something is no job of ours."""
        self._log.job(JobEvent.REJECTED, id=delivery.id[:100], task="?", detail=reason)


def _is_of_interest(verdict: Verdict) -> bool:
    """Whether the log shows the traceback: that of a retry which the task asked for says nothing without a cause."""
    error = verdict.error
    if isinstance(error, Retry):
        return error.__cause__ is not None or error.__context__ is not None
    return verdict.is_failure


def _used(run: Run) -> tuple[int, int]:
    """Microseconds of CPU and KiB of memory, as an outcome says it."""
    return round((run.cpu or 0.0) * 1e6), (run.memory or 0) // 1024
