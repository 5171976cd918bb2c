"""Actions on all jobs that match a filter: page by page, so that each call of the broker is short.

An action that was interrupted is repeated from its beginning: what it has done already is no longer listed, or is left
as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum

import msgspec

from ..broker import Broker, Cancelled
from ..brokers import due_now_of, features, graphs_of, inspect, moving_of, require
from ..brokers.graphs import Conclusion
from ..brokers.letters import error_of
from ..brokers.moving import Move
from ..brokers.technology import GRAPHS
from ..errors import ConfigError, JobCancelled, SealError
from ..inspector import JobFilter, JobInfo
from ..job import RELEASE, Job, Status, decode_job, encode_job
from ..wire.ended import ended
from ..wire.seal import OVERHEAD, Sealer
from .done import Done
from .resending import NEWER, SEALED, Resending, is_later

__all__ = ["MOVABLE", "Action", "BulkAction", "move_of"]


class Action(StrEnum):
    """What is done with each job."""

    #: End it; a running one is interrupted.
    CANCEL = "cancel"
    #: End it as CANCELLED if it is pending; a running one is left alone.
    PURGE = "purge"
    #: Run it at once, if it is scheduled or to be retried.
    RUN_NOW = "run now"
    #: Send the job of a dead letter again, as a new job.
    RESEND = "resend"
    #: Put it into another queue, under its id, if no worker has it.
    MOVE = "move"


#: The statuses of jobs that no worker has and that wait for no other job.
MOVABLE = (Status.SCHEDULED, Status.RETRYING, Status.PARKED, Status.PENDING)
#: The statuses of the jobs of each action, in an order in which a job that moves on meanwhile is met again.
_STATUSES = {
    Action.CANCEL: (
        *(Status.WAITING, Status.SCHEDULED, Status.RETRYING, Status.PARKED, Status.PENDING, Status.RUNNING),
    ),
    Action.PURGE: (Status.PENDING,),
    Action.RUN_NOW: (Status.SCHEDULED, Status.RETRYING),
    Action.RESEND: (Status.FAILED,),
    Action.MOVE: MOVABLE,
}
#: Jobs in one call: the server ends this number in about a millisecond, and serves other clients before the next call.
_BATCH = 50
#: Why a job was left as it is.
_MEANWHILE = "had started or ended meanwhile"


class BulkAction:
    """One action on the jobs of one app that match a filter.

    Args:
        secrets: of the app.
        result_ttl: seconds for which the outcomes of jobs are kept that do not say it themselves.
        to: the queue to which jobs are moved.
        error: text that stands in the error of a dead letter, in any case; for letters that are sent again.

    Raises:
        ConfigError: the broker lacks what the action needs, or no job that the filter matches can be its subject.
    """

    def __init__(
        self,
        action: Action,
        wanted: JobFilter,
        broker: Broker,
        secrets: Sequence[str],
        result_ttl: float,
        to: str = "",
        error: str = "",
    ) -> None:
        self._action = action
        self._wanted = wanted
        self._broker = broker
        self._inspector = inspect(broker)
        self._jobs = Sealer(secrets, "job")
        self._outcomes = Sealer(secrets, "outcome")
        self._result_ttl = result_ttl
        self._to = to
        self._error = error.casefold()
        self._statuses = _statuses(action, wanted)
        self._resending = Resending(broker, self._jobs)
        if action in (Action.PURGE, Action.RESEND):
            require(broker.url, GRAPHS, f"The bulk action {action}")
        elif action is Action.RUN_NOW:
            due_now_of(broker)
        elif action is Action.MOVE:
            moving_of(broker)

    async def count(self, most: int) -> int:
        """The number of jobs that match now. The count stops at ``most``."""
        number = 0
        async for page in self._pages():
            number += len(page)
            if number >= most:
                return most
        return number

    async def run(self) -> AsyncIterator[Done]:
        """Do it page by page; what has become of the jobs so far is yielded after each page. Jobs that were sent after
        the beginning are not meant."""
        done, started = Done(), (await self._inspector.stats(max_age=0.0)).time
        async for page in self._pages():
            jobs = [(info, self._opened(info)) for info in page]
            await self._act([each for each in jobs if not is_later(each[1], started)], done)
            yield done
        yield done

    async def _pages(self) -> AsyncIterator[list[JobInfo]]:
        for status in self._statuses:
            after = ""
            while True:
                wanted = msgspec.structs.replace(self._wanted, status=status)
                page = await self._inspector.page(wanted, after, _BATCH)
                jobs = [info for info in page.jobs if self._is_meant(info)]
                if jobs:
                    yield jobs
                after = page.after
                if not after:
                    break

    def _is_meant(self, info: JobInfo) -> bool:
        """Whether a job of a page is one of those of the action: not one that is in the queue already to which others
        are moved, perhaps by this action, and no letter of another error."""
        if self._action is Action.MOVE:
            job = self._opened(info)
            return job is None or job.queue != self._to
        return not self._error or self._error in error_of(info).casefold()

    def _opened(self, info: JobInfo) -> Job | None:
        """The envelope; None: it was sealed with another secret."""
        try:
            return decode_job(self._jobs.open(info.sealed or b""))
        except SealError:
            return None

    async def _act(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        match self._action:
            case Action.CANCEL:
                await self._cancel(jobs, done)
            case Action.PURGE:
                ends = await self._conclude(jobs)
                done.done += sum(ends)
                done.skip(_MEANWHILE, len(ends) - sum(ends))
            case Action.RUN_NOW:
                await self._run_now([info.id for info, _ in jobs], done)
            case Action.RESEND:
                await self._resend(jobs, done)
            case Action.MOVE:
                await self._move(jobs, done)

    # ---- ending

    async def _conclude(self, jobs: Sequence[tuple[JobInfo, Job | None]]) -> list[bool]:
        if not jobs:
            return []
        return await graphs_of(self._broker).conclude([self._conclusion(info, job) for info, job in jobs])

    def _conclusion(self, info: JobInfo, job: Job | None) -> Conclusion:
        of_task = f" ({job.task})" if job else ""
        message = f'Job "{info.id}"{of_task} was cancelled, with all that matched the same filter.'
        graph = job.more.flow.graph if job and job.more and job.more.flow else ""
        outcome = ended(self._outcomes, info.id, job.task if job else "", JobCancelled, message, graph=graph)
        return Conclusion(info.id, outcome, Status.CANCELLED, job.result_ttl if job else self._result_ttl)

    async def _cancel(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        left = jobs
        if GRAPHS in features(self._broker.url):
            unstarted = [each for each in jobs if each[0].status is not Status.RUNNING]
            ends = await self._conclude(unstarted)
            done.done += sum(ends)
            gone = {info.id for (info, _), is_ended in zip(unstarted, ends, strict=True) if is_ended}
            left = [each for each in jobs if each[0].id not in gone]
        for info, job in left:
            item = self._conclusion(info, job)
            did = await self._broker.cancel(item.id, item.outcome, item.result_ttl)
            if did in (Cancelled.DONE, Cancelled.ASKED):
                done.done, done.asked = done.done + 1, done.asked + (did is Cancelled.ASKED)
            else:
                done.skip("had ended meanwhile")

    # ---- running

    async def _run_now(self, ids: Sequence[str], done: Done) -> None:
        if not ids:
            return
        made = await due_now_of(self._broker).make_due(ids)
        done.done += sum(made)
        done.skip(_MEANWHILE, len(made) - sum(made))
        # No keeper may be there to do it.
        await self._broker.promote(_BATCH)

    async def _move(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        batch: list[Move] = []
        for info, job in jobs:
            move = move_of(info, job, self._jobs, self._to)
            if isinstance(move, str):
                done.skip(move)
            else:
                batch.append(move)
        moved = await moving_of(self._broker).move(self._to, batch) if batch else []
        done.done += sum(moved)
        done.skip(_MEANWHILE, len(moved) - sum(moved))

    async def _resend(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        known = [job for _, job in jobs if job is not None]
        done.skip(SEALED, len(jobs) - len(known))
        await self._resending.send(known, done)


def _statuses(action: Action, wanted: JobFilter) -> tuple[Status, ...]:
    possible = _STATUSES[action]
    if wanted.status is None:
        return possible
    if wanted.status not in possible:
        said = ", ".join(status.lower() for status in possible)
        raise ConfigError(
            f"Nothing was done: {action} is for jobs that are {said}, not for those that are {wanted.status.lower()}. "
            "Leave out the status, or name one of these."
        )
    return (wanted.status,)


def move_of(info: JobInfo, job: Job | None, sealer: Sealer, queue: str) -> Move | str:
    """The move of a job to another queue, with all else that it is; or why it cannot be moved."""
    if job is None or info.sealed is None:
        return SEALED
    if job.version > RELEASE:
        return NEWER
    if job.queue == queue:
        return "is in that queue already"
    return Move(info.id, info.sealed[:OVERHEAD], sealer.seal(encode_job(msgspec.structs.replace(job, queue=queue))))
