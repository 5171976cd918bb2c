"""Actions on all jobs that match a filter: page by page, so that each call of the broker is short.

An action that was interrupted is repeated from its beginning: what it has done already is no longer listed, or is left
as it is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

import msgspec

from ..broker import Broker, Cancelled, Push, Special
from ..brokers import due_now_of, features, graphs_of, inspect, moving_of, require
from ..brokers.graphs import Conclusion
from ..brokers.letters import error_of
from ..brokers.moving import Move
from ..brokers.technology import GRAPHS
from ..errors import ConfigError, JobCancelled, SealError
from ..inspector import JobFilter, JobInfo
from ..job import RELEASE, Job, More, Status, decode_job, encode_job
from ..job import ids as new_ids
from ..wire.ended import ended
from ..wire.seal import OVERHEAD, Sealer

__all__ = ["MOVABLE", "Action", "BulkAction", "Done", "again_id", "move_of", "resent"]


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
#: Seconds by which the clock of a sender may be ahead.
_CLOCK_SKEW = 1.0
#: Why a job was left as it is.
_MEANWHILE = "had started or ended meanwhile"
_IN_GRAPH = "belongs to a graph, which is replayed as a whole (aiotask graphs replay)"
_NEWER = "was sent by a newer release of aiotask"
_SENT_BEFORE = "was sent again before"


@dataclass
class Done:
    """What became of the jobs so far.

    Attributes:
        done: how many jobs the action was done with; ``asked``: how many of them run until their workers end them.
        skipped: how many jobs were left as they are, by the reason.
    """

    done: int = 0
    asked: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        return self.done + self.skipped.total()


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
        self._client = f"again-{new_ids.next()}"
        self._sequence = 0
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
            await self._act([each for each in jobs if not _is_later(each[1], started)], done)
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
                _skip(done, _MEANWHILE, len(ends) - sum(ends))
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
                _skip(done, "had ended meanwhile")

    # ---- running

    async def _run_now(self, ids: Sequence[str], done: Done) -> None:
        if not ids:
            return
        made = await due_now_of(self._broker).make_due(ids)
        done.done += sum(made)
        _skip(done, _MEANWHILE, len(made) - sum(made))
        # No keeper may be there to do it.
        await self._broker.promote(_BATCH)

    async def _move(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        batch: list[Move] = []
        for info, job in jobs:
            move = move_of(info, job, self._jobs, self._to)
            if isinstance(move, str):
                _skip(done, move)
            else:
                batch.append(move)
        moved = await moving_of(self._broker).move(self._to, batch) if batch else []
        done.done += sum(moved)
        _skip(done, _MEANWHILE, len(moved) - sum(moved))

    async def _resend(self, jobs: Sequence[tuple[JobInfo, Job | None]], done: Done) -> None:
        batch: list[Push] = []
        for _, job in jobs:
            push = resent(job, self._jobs, again_id(job)) if job else "was sealed with another secret"
            if isinstance(push, str):
                _skip(done, push)
            else:
                batch.append(push)
        states = await self._broker.status([push.id for push in batch]) if batch else []
        new = [push for push, state in zip(batch, states, strict=True) if state.status is None and not state.outcome]
        _skip(done, _SENT_BEFORE, len(batch) - len(new))
        if new:
            self._sequence += 1
            await self._broker.push(self._client, self._sequence, new)
        done.done += len(new)


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


def _is_later(job: Job | None, started: float) -> bool:
    """Whether a job was sent after this moment of the broker's clock, by the sender's clock."""
    return job is not None and job.sent_at > started + _CLOCK_SKEW


def _skip(done: Done, reason: str, number: int = 1) -> None:
    if number:
        done.skipped[reason] += number


def move_of(info: JobInfo, job: Job | None, sealer: Sealer, queue: str) -> Move | str:
    """The move of a job to another queue, with all else that it is; or why it cannot be moved."""
    if job is None or info.sealed is None:
        return "was sealed with another secret"
    if job.version > RELEASE:
        return _NEWER
    if job.queue == queue:
        return "is in that queue already"
    return Move(info.id, info.sealed[:OVERHEAD], sealer.seal(encode_job(msgspec.structs.replace(job, queue=queue))))


def again_id(job: Job) -> str:
    """The id of the job as which a bulk action sends another one again: the same each time, so that a repeated action
    sends it once."""
    return f"00again-{blake2b(f'{job.id} {job.sent_at!r}'.encode(), digest_size=11).hexdigest()}"


def resent(job: Job, sealer: Sealer, id: str) -> Push | str:
    """A new job from an old one, due at once, with the same limit and priority; or why there can be none."""
    more = job.more or More()
    if more.flow is not None:
        return _IN_GRAPH
    if job.version > RELEASE:
        return _NEWER
    kept = msgspec.structs.replace(more, parent="", expires=0.0, unique="")
    fresh = msgspec.structs.replace(
        job, id=id, sent_at=time.time(), reply="", due_at=0.0, more=None if kept == More() else kept
    )
    special = Special(limit=kept.limit) if kept.limit else None
    return Push(id, job.queue, job.priority, sealer.seal(encode_job(fresh)), custom=True, special=special)
