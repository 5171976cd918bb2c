"""The ends of runs: each run is judged, logged, and handed over to the settler as an outcome or a requeue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from msgspec.structs import replace

from ..broker import Finish, Requeue, special_of
from ..errors import BrokerError, JobCancelled, JobError, Retry, SerializationError, WorkerLost
from ..job import WIRE_VERSION, Status, decode_job
from ..outcome import Outcome, encode_outcome
from ..wire.ended import ended
from ..wire.error_form import is_a
from ..wire.error_info import error_info
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from .aftermath import Aftermath
from .batch import Batch
from .budget import SHORT
from .job_log import JobLog
from .life import Life
from .measures import Measures
from .parents import Parents
from .prefetch import Prefetch
from .run import Run
from .settler import Settler
from .verdict import SUCCEEDED, WAITS, Verdict, What, convict, judge, next_meta

__all__ = ["Endings"]

logger = logging.getLogger("aiotask.worker")

#: Bytes from which an outcome may be refused for its size.
_LARGE = 100_000


class Endings:
    """What one worker does at the end of each of its runs.

    Args:
        worker: name of the worker, as outcomes show it.
        grow: called with runs that have returned Refs.
        hold: called with the way back of a job and its limit and key, which are to be held for the delay.
        dissolve: returns the items of a batch that has ended.
        max_jobs: number of ends after which ``full`` is called, once. None: never.
        aftermath: told of what ends; None: no middleware asks for it.

    Attributes:
        runs: number of runs that have ended.
    """

    def __init__(
        self,
        life: Life,
        settler: Settler,
        prefetch: Prefetch,
        parents: Parents,
        job_log: JobLog,
        measures: Measures,
        *,
        worker: str,
        jobs_sealer: Sealer,
        outcomes_sealer: Sealer,
        serializer: Serializer,
        grow: Callable[[Run], None],
        hold: Callable[[Requeue, str], None],
        dissolve: Callable[[Batch], list[Run]],
        max_jobs: int | None,
        full: Callable[[], None] | None,
        aftermath: Aftermath | None = None,
    ) -> None:
        self._life = life
        self._settler = settler
        self._prefetch = prefetch
        self._parents = parents
        self._job_log = job_log
        self._measures = measures
        self._worker = worker
        self._jobs_sealer = jobs_sealer
        self._outcomes_sealer = outcomes_sealer
        self._serializer = serializer
        self._grow = grow
        self._hold = hold
        self._dissolve = dissolve
        self._full = full if max_jobs is not None else None
        self._max_jobs = max_jobs or 0
        self._aftermath = aftermath
        self.runs = 0

    # ---- runs that have ended

    def close(self, runs: list[Run]) -> None:
        """End these runs: those that have run are judged, the others go back to their queues."""
        finishes: list[Finish] = []
        for run in runs:
            if run.abandoned:
                if isinstance(run, Batch):
                    self._close_batch(run, finishes)
                continue
            if run.started_at == 0.0 and (run.error is None or isinstance(run.error, asyncio.CancelledError)):
                # The run was cancelled before its first step, or taken back: the task has not run.
                self._settler.give_back(run)
                continue
            verdict = SUCCEEDED if run.error is None else self._judge(run)
            if run.returned is not None and verdict is SUCCEEDED:
                self._grow(run)
            else:
                self._prefetch.measure(run.task.is_async, run.took)
                self._conclude(run, verdict, finishes)
        self._finish(finishes)

    def _close_batch(self, batch: Batch, finishes: list[Finish]) -> None:
        """Judge each item of a call by itself."""
        items = self._dissolve(batch)
        if batch.started_at:
            self._prefetch.measure(batch.task.is_async, batch.took)
        if batch.stopped:
            self._parents.ended(batch, goes_back=self._judge(batch).what is What.RELEASE)
        for item in items:
            if item.started_at or item.error is not None:
                self._conclude(item, SUCCEEDED if item.error is None else self._judge(item), finishes)
            else:
                self._settler.give_back(item)

    def end(self, runs: list[tuple[Run, Verdict]]) -> None:
        """These runs do not take place, and so much is known of their jobs."""
        finishes: list[Finish] = []
        for run, verdict in runs:
            self._conclude(run, verdict, finishes)
        self._finish(finishes)

    def wait(self, run: Run) -> None:
        """The job of this run has been given up: it waits for the jobs that the run has returned."""
        self.runs += 1
        self._prefetch.measure(run.task.is_async, run.took)
        if not run.start_logged:
            self._job_log.started(run)
        self._job_log.ended(run, WAITS, dead=False)
        if self._aftermath is not None:
            self._aftermath.ended(run, WAITS)
        if run.took >= SHORT:
            self._measures.ran(run.job.task, run.took, run.cpu)
        if run.stopped:
            self._parents.ended(run, goes_back=False)
        self._finish([])

    def convict(self, runs: list[Run]) -> None:
        """End these runs without running them: too many processes died while they ran the job."""
        finishes: list[Finish] = []
        for run in runs:
            self._conclude(run, convict(run), finishes, dead=True)
        self._finish(finishes)

    def give_up(self, run: Run) -> None:
        """End the job of a cancelled run that goes on and cannot be ended here, so that its caller waits no longer."""
        is_one_of_many = run.batch is not None and run.batch.in_hand > 1
        run.abandoned = True
        run.took = time.monotonic() - run.started_mono
        run.finished_at = run.started_at + run.took
        why = "while the rest of its batch goes on" if is_one_of_many else "but it did not react to the cancel"
        reason = JobCancelled(f'Job "{run.job.id}" ({run.task.name}) was cancelled, {why}.')
        finishes: list[Finish] = []
        self._conclude(run, Verdict(What.CANCELLED, reason), finishes)
        self._finish(finishes)

    def _judge(self, run: Run) -> Verdict:
        try:
            verdict = judge(run, run.error)
        except BaseException as error:
            return Verdict(What.FAILED, _unreportable(run, error))
        if run.begun and verdict.what is What.RELEASE:
            reason = WorkerLost(
                f'Job "{run.job.id}" ({run.task.name}) was stopped, and with acks="early" it does not run again.'
            )
            return Verdict(What.FAILED, reason)
        return verdict

    def _conclude(self, run: Run, verdict: Verdict, finishes: list[Finish], *, dead: bool = False) -> None:
        """Log and settle the end of a run; an outcome is added to ``finishes``, which ``_finish`` hands over."""
        self.runs += 1
        try:
            self._report(run, verdict, finishes, dead)
        except BaseException as error:
            self._report(run, Verdict(What.FAILED, _unreportable(run, error)), finishes, dead)

    def _report(self, run: Run, verdict: Verdict, finishes: list[Finish], dead: bool) -> None:
        if run.started_at and not run.start_logged:
            self._job_log.started(run)
        self._job_log.ended(run, verdict, dead=dead)
        if run.stopped:
            self._parents.ended(run, goes_back=verdict.what is What.RELEASE)
        if self._aftermath is not None:
            self._aftermath.expect(run, verdict)
        requeue = None if verdict is SUCCEEDED else self._way_back(run, verdict)
        if requeue is None:
            finish = self._finish_of(run, verdict, dead)
            if finish.graph or finish.special:
                self._settler.finish_special(finish)
            else:
                finishes.append(finish)
        elif getattr(verdict.error, "limit", False) and (limit := _limit_to_hold(run, verdict)):
            self._hold(requeue, limit)
        else:
            self._settler.requeue(requeue)

    def _way_back(self, run: Run, verdict: Verdict) -> Requeue | None:
        """How a job that did not succeed goes back into a queue; None: the verdict ends it."""
        self._measures.unusual(run, verdict)
        if verdict.what is What.RETRY and run.took >= SHORT:
            self._measures.ran(run.job.task, run.took, run.cpu)
        return _way_back(run, verdict)

    def _finish(self, finishes: list[Finish]) -> None:
        """Hand over the outcomes of jobs that have ended."""
        if finishes:
            self._settler.finish(finishes)
        self._life.stir()
        if self._full is not None and self.runs >= self._max_jobs:
            full, self._full = self._full, None
            full()

    # ---- outcomes

    def _finish_of(self, run: Run, verdict: Verdict, dead: bool) -> Finish:
        """The outcome of a job that has ended, sealed."""
        job, delivery, status = run.job, run.delivery, verdict.what.status
        attempt, value, error, worker = delivery.meta.attempt, run.value, None, self._worker
        if verdict.error is not None:
            value = None
            error = run.info or error_info(verdict.error, run.traceback, self._serializer, job.id)
            # The retries of the job are used up, so it was expected to succeed in the end.
            dead = dead or (verdict.what is What.FAILED and attempt > 1)
            if trail := delivery.meta.trail:
                error = replace(error, trail=trail)
                # A job that is given up has not run here.
                worker = worker if run.started_at else trail[-1].worker
        cpu = memory = 0
        if run.took >= SHORT:
            cpu, memory = _used(run)
            self._measures.ran(job.task, run.took, run.cpu)
        began, end = run.started_at, run.finished_at or time.time()
        flow = run.flow
        graph = "" if flow is None else flow.graph
        outcome = Outcome(
            WIRE_VERSION, job.id, job.task, status, attempt, worker, began, end, value, error, cpu, memory, graph
        )
        sealed = self._outcomes_sealer.seal(encode_outcome(outcome))
        special = run.has_reported
        if flow is not None:
            return Finish(delivery, sealed, status, job.result_ttl, job.reply, dead, graph, flow.node, special)
        if job.more is not None:
            special = special or special_of(job.more) is not None
        # By position: every run makes one, and a name costs time.
        return Finish(delivery, sealed, status, job.result_ttl, job.reply, dead, "", 0, special)

    def lost(self, run: Run) -> bytes:
        """The outcome of a job that runs at most once, if its process dies."""
        job, attempt = run.job, run.delivery.meta.attempt
        message = (
            f'Job "{job.id}" ({run.task.name}) was lost: the process or the host that ran it died, and with '
            'acks="early" it does not run again.'
        )
        return ended(
            self._outcomes_sealer,
            job.id,
            job.task,
            WorkerLost,
            message,
            attempt=attempt,
            worker=self._worker,
            started_at=time.time(),
            finished_at=0.0,
        )

    def replacement(self, item: Finish, refusal: BrokerError) -> Finish:
        """What to send where the broker refuses an outcome: the error that it was too large, if it was; else itself."""
        if len(item.outcome) < _LARGE:
            return item
        job, attempt = decode_job(self._jobs_sealer.open(item.delivery.sealed)), item.delivery.meta.attempt
        message = (
            f'The outcome of job "{job.id}" ({job.task}) has {len(item.outcome):,} bytes, '
            f"and the broker rejected it: {refusal}"
        )
        if self._aftermath is not None:
            self._aftermath.replace(item.delivery, Verdict(What.FAILED, SerializationError(message)))
        ttl, graph, node = job.result_ttl, item.graph, item.node
        sealed = ended(
            self._outcomes_sealer,
            job.id,
            job.task,
            SerializationError,
            message,
            attempt=attempt,
            worker=self._worker,
            graph=graph,
        )
        return Finish(item.delivery, sealed, Status.FAILED, ttl, job.reply, item.dead, graph, node, item.special)


def _way_back(run: Run, verdict: Verdict) -> Requeue | None:
    """How the job goes back into a queue; None: the verdict ends it."""
    delivery, job = run.delivery, run.job
    if verdict.what is What.RETRY:
        return Requeue(delivery, job.queue, next_meta(run, verdict.error), delay=verdict.delay)
    if verdict.what is What.PARK:
        return Requeue(delivery, job.queue, run.meta, need=verdict.need, reply=job.reply)
    if verdict.what is What.RELEASE:
        return Requeue(delivery, job.queue, run.meta)
    return None


def _limit_to_hold(run: Run, verdict: Verdict) -> str:
    """Limit and key that a retry holds back; empty: none."""
    if verdict.what is not What.RETRY or not is_a(verdict.error, Retry):
        return ""
    limit = run.job.more.limit if run.job.more is not None else ""
    if not limit:
        logger.warning(
            'Job "%s" (%s) raised Retry(limit=True), and has no limit: it alone is retried.', run.job.id, run.task.name
        )
    return limit


def _unreportable(run: Run, error: BaseException) -> JobError:
    """The error of a job whose value or error cannot be inspected, so that its caller waits no longer."""
    logger.error("The end of job %s could not be reported as it was.", run.job.id, exc_info=error)
    run.traceback = ""
    return JobError(
        f'The end of job "{run.job.id}" ({run.task.name}) could not be reported, since inspecting its value '
        f"or error raised {type(error).__name__}. See the log of its worker."
    )


def _used(run: Run) -> tuple[int, int]:
    """Microseconds of CPU and KiB of memory that a run used, as outcomes have them."""
    return round((run.cpu or 0.0) * 1e6), (run.memory or 0) // 1024
