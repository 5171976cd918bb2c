"""Bulk actions on the jobs of one or more apps, and jobs that are run at once or sent again by their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..brokers import due_now_of, features, moving_of
from ..brokers.technology import DUE_NOW, MOVE
from ..client.bulk import MOVABLE, Action, BulkAction, move_of
from ..client.done import Done
from ..client.resending import resent
from ..errors import AiotaskError, ConfigError, SealError
from ..history.resultdb import ResultDB
from ..inspector import JobFilter, WorkerInfo
from ..job import RESULT_TTL, Job, decode_job
from ..job import ids as new_ids
from ..wire.seal import Sealer
from .connection import Connection, Place, inspectors
from .ended import EndedJobs, OfHistory
from .likely import likely

__all__ = ["MOST_COUNTED", "Action", "Bulk", "Done", "move_ids", "resend_ids", "run_ids_now", "told_if_unserved"]

#: Jobs that are counted before an action at most.
MOST_COUNTED = 10_000


class Bulk:
    """One action on all jobs of some apps that match a filter.

    Args:
        to: the queue to which jobs are moved.
        error: text that stands in the error of a job that is sent again.
        of_history: the jobs of the history that are sent again; None: dead letters are.

    Raises:
        ConfigError: an app cannot do it, or no job that the filter matches can be its subject.
    """

    def __init__(
        self,
        action: Action,
        wanted: JobFilter,
        opened: Sequence[Connection],
        to: str = "",
        error: str = "",
        of_history: OfHistory | None = None,
    ) -> None:
        self._actions = [
            (
                each.name,
                EndedJobs(each, wanted, error, of_history)
                if of_history
                else _action_on(each, action, wanted, to, error),
            )
            for each in opened
        ]
        #: With how many jobs of each app it was done so far.
        self.by_app: Counter[str] = Counter()

    async def count(self) -> int:
        """The number of jobs that match now. The count stops at MOST_COUNTED."""
        number = 0
        for _, each in self._actions:
            number += await each.count(MOST_COUNTED - number)
            if number >= MOST_COUNTED:
                break
        return number

    async def run(self, done: Done, progress: Callable[[int], None]) -> None:
        """Do it; ``done`` says what has become of the jobs, also where this is interrupted."""
        for app, each in self._actions:
            before = Done(done.done, done.asked, done.skipped.copy())
            async for now in each.run():
                done.done, done.asked = before.done + now.done, before.asked + now.asked
                done.skipped = before.skipped + now.skipped
                self.by_app[app] = now.done
                progress(done.seen)


def _action_on(connection: Connection, action: Action, wanted: JobFilter, to: str, error: str) -> BulkAction:
    ttl = connection.app.result_ttl if connection.app is not None else RESULT_TTL
    return BulkAction(action, wanted, connection.broker, connection.secrets, ttl, to, error)


# ---- by id


async def run_ids_now(ids: Sequence[str], place: Place) -> list[dict[str, Any]]:
    """Run scheduled jobs at once; a dict for each id, in their order."""
    async with inspectors(place) as opened:
        able = [each for each in opened if DUE_NOW in features(each.broker.url)]
        return [await _run_now(able, id, place) for id in ids]


async def _run_now(opened: Sequence[Connection], id: str, place: Place) -> dict[str, Any]:
    found = {"id": id, "app": "", "did": "skipped", "said": f"unknown: {place.why_unknown}"}
    for each in opened:
        info = await each.inspector.job(id)
        if info is None:
            continue
        found["app"] = each.name
        [is_done] = await due_now_of(each.broker).make_due([id])
        if is_done:
            await each.broker.promote()
            return {**found, "did": "done", "said": "runs as soon as a worker takes it"}
        found["said"] = f"is not scheduled: it is {info.status}"
    return found


async def move_ids(ids: Sequence[str], to: str, place: Place) -> list[dict[str, Any]]:
    """Move jobs that no worker has to another queue; a dict for each id, in their order."""
    async with inspectors(place) as opened:
        able = [each for each in opened if MOVE in features(each.broker.url)]
        return [await _move(able, id, to, place) for id in ids]


async def _move(opened: Sequence[Connection], id: str, to: str, place: Place) -> dict[str, Any]:
    found = {"id": id, "app": "", "did": "skipped", "said": f"unknown: {place.why_unknown}"}
    for each in opened:
        info = await each.inspector.job(id)
        if info is None:
            continue
        found["app"] = each.name
        if info.status not in MOVABLE:
            return {**found, "said": f"is {info.status}: only jobs that wait for a worker or their time are moved"}
        sealer = Sealer(each.secrets, "job")
        try:
            move = move_of(info, decode_job(sealer.open(info.sealed or b"")), sealer, to)
        except SealError as error:
            return {**found, "said": str(error)}
        if isinstance(move, str):
            return {**found, "said": move}
        [is_done] = await moving_of(each.broker).move(to, [move])
        if not is_done:
            return {**found, "said": "had started or ended meanwhile"}
        return {**found, "did": "done", "said": f"is in queue {to} now"}
    return found


async def told_if_unserved(queue: str, place: Place) -> str:
    """A sentence if no live worker consumes a queue: a typing error, or a worker that is still to be started."""
    async with inspectors(place) as opened:
        workers = [worker for each in opened for worker in await each.inspector.workers()]
    names = {str(name) for worker in workers for name in _queues_of(worker)}
    if queue in names:
        return ""
    return f'No live worker consumes a queue "{queue}".{likely(queue, sorted(names))}'


def _queues_of(worker: WorkerInfo) -> list[Any]:
    queues = worker.facts.get("queues")
    return queues if isinstance(queues, list) else []


async def resend_ids(ids: Sequence[str], place: Place, db: str | None) -> list[dict[str, Any]]:
    """Send jobs again, each as a new job; a dict for each id, in their order."""
    async with inspectors(place) as opened:
        return [await _resend(opened, id, place, db) for id in ids]


async def _resend(opened: Sequence[Connection], id: str, place: Place, db: str | None) -> dict[str, Any]:
    found = {"id": id, "app": "", "did": "skipped", "new_id": ""}
    for each in opened:
        try:
            job = None if each.app is None else await _old_job(each, id, db)
        except SealError as error:
            return {**found, "app": each.name, "said": str(error)}
        if job is None:
            continue
        push = resent(job, Sealer(each.secrets, "job"), new_ids.next())
        if isinstance(push, str):
            return {**found, "app": each.name, "said": push}
        await each.broker.push(f"again-{push.id}", 1, [push])
        return {**found, "app": each.name, "did": "done", "new_id": push.id, "said": f"was sent again as {push.id}"}
    return {**found, "said": f"its call is not known: {place.why_unknown}, or its outcome alone is kept (--db FILE)"}


async def _old_job(connection: Connection, id: str, db: str | None) -> Job | None:
    """The envelope of a job, from the server or from the history file; None: neither has it.

    Raises:
        SealError: it was sealed with another secret.
    """
    info = await connection.inspector.job(id)
    sealed = info.sealed if info is not None else None
    if sealed is None and (letter := await connection.inspector.dead_letter(id)) is not None:
        sealed = letter.job
    sealed = sealed or await _recorded(connection, id, db)
    return decode_job(Sealer(connection.secrets, "job").open(sealed)) if sealed else None


async def _recorded(connection: Connection, id: str, db: str | None) -> bytes | None:
    try:
        history = ResultDB(db)
    except ConfigError:
        return None
    if not history.path.exists():
        return None
    try:
        record = await history.fetch_record(id)
    except AiotaskError:
        return None
    finally:
        await history.close()
    return record.job if record is not None and record.app == connection.name else None
