"""Unfinished jobs of one or more apps by the page, and all data about one job."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from ..brokers.pages import matches, unknown_place
from ..errors import AiotaskError, ConfigError, ResultExpired
from ..history.resultdb import ResultDB
from ..inspector import JobFilter, JobInfo
from ..job import FINAL, Status, keyed_id
from ..values.hidden import Hidden
from ..values.unique import unique_id
from .connection import Connection, Place, hidden_here, inspectors
from .describe import describe_job, describe_record
from .hosts import hosts_of
from .limits import why_in_line
from .pauses import pause_awaited
from .progress import checkpoint_of, progress_of

if TYPE_CHECKING:
    from ..brokers.sql.inspector import RowInspector

__all__ = [
    "ORDERS",
    "Found",
    "address_of",
    "columns_of",
    "in_history",
    "is_newest_first",
    "order_words",
    "read_job",
    "read_keyed",
    "read_page",
    "search",
]


#: Orders of jobs in queues: by when they came there.
ORDERS = ("newest", "oldest")


class Found(NamedTuple):
    """Jobs that a search has found so far."""

    jobs: list[dict[str, Any]]
    #: Where it goes on; empty: it is over.
    after: str = ""
    #: How many jobs were looked at, about.
    looked: int = 0


async def read_page(
    place: Place, wanted: JobFilter, after: str, limit: int, *, newest: bool = False
) -> list[dict[str, Any]]:
    """The first jobs of ``search``, however many have to be looked at for them.

    Returns:
        The jobs; if there may be others, the last one says in ``after`` where the next page begins.
    """
    found = await search(place, wanted, after, limit, newest=newest)
    if found.after and found.jobs:
        found.jobs[-1]["after"] = found.after
    return found.jobs


async def search(
    place: Place,
    wanted: JobFilter,
    after: str,
    limit: int,
    *,
    newest: bool = False,
    seconds: float = inf,
    most: float = inf,
) -> Found:
    """Jobs of the named app or of all apps, one app after the other, in the order of ``Inspector.page``.

    Args:
        newest: of jobs in queues and parked ones, those that came there last come first.
        after: where the page begins, as the page before said; empty: at the first job.
        seconds: after which no further jobs are looked at.
        most: jobs after which no further ones are looked at, about.

    Raises:
        ConfigError: ``after`` was given by no page of these apps; or rows are searched by text.
    """
    which, _, at = after.partition(":")
    found: list[dict[str, Any]] = []
    looked, began = 0, time.monotonic()
    async with inspectors(place) as opened:
        if after and which not in map(address_of, opened):
            raise unknown_place(after)
        for each in opened:
            name = address_of(each)
            if name < which:
                continue
            at = at if name == which else ""
            if not at and (exact := await _exactly(each, wanted)) is not None:
                return Found([*found, exact], "", looked + 1)
            while True:
                is_over = looked >= most or (looked and time.monotonic() - began >= seconds)
                if len(found) >= limit or is_over:
                    return Found(found, f"{name}:{at}", looked)
                page = await each.inspector.page(wanted, at, limit - len(found), newest=newest)
                found += [describe_job(each, info) for info in page.jobs]
                at, looked = page.after, looked + max(page.looked, len(page.jobs))
                if not at:
                    break
    return Found(found, "", looked)


def is_newest_first(wanted: JobFilter, order: str) -> bool:
    """Whether the jobs that came last are listed first, as ``newest`` asks for and ``oldest`` does not; empty: in
    searches, by task, text or id.

    Raises:
        ConfigError: there is no such order.
    """
    if order not in ("", *ORDERS):
        raise ConfigError(f'There is no order "{order}". Orders: {", ".join(ORDERS)}.')
    return order == "newest" if order else bool(wanted.task or wanted.text or wanted.prefix)


def order_words(status: Status | None, *, newest: bool) -> str:
    """In which order unfinished jobs of a status are listed, in words."""
    if status is Status.FAILED:
        return "latest first"
    if status in (Status.SCHEDULED, Status.RETRYING):
        return "by due time"
    if status is Status.WAITING:
        return "graph by graph"
    if status is Status.RUNNING:
        return "as they were claimed"
    first = "newest first" if newest else "as they are claimed"
    return first if status is not None else f"{first}, then by due time"


async def _exactly(connection: Connection, wanted: JobFilter) -> dict[str, Any] | None:
    """The unfinished job with just this id, at once; None: there is none that matches, or the id is a part of one."""
    info = await connection.inspector.job(wanted.prefix) if wanted.prefix else None
    if info is None or info.status in FINAL or not matches(info, wanted):
        return None
    described = describe_job(connection, info)
    return described if wanted.queue in (None, described.get("queue")) else None


async def read_keyed(place: Place, task: str | None, key: str, limit: int) -> list[dict[str, Any]]:
    """The jobs of a task under a key: those that have not ended, and the one whose outcome is kept for the next call.

    Raises:
        ConfigError: no task is given.
    """
    if not task:
        raise ConfigError("A key is one of a task: name the task, too (--task).")
    wanted = JobFilter(task=task, prefix=unique_id(task, key, "").partition("--")[0] + "-")
    found: list[dict[str, Any]] = []
    async with inspectors(place) as opened:
        for each in opened:
            if (info := await each.inspector.job(keyed_id(task, key))) is not None:
                found.append(describe_job(each, info))
            after = ""
            while len(found) < limit:
                page = await each.inspector.page(wanted, after, limit - len(found))
                found += [describe_job(each, info) for info in page.jobs]
                after = page.after
                if not after:
                    break
    return found[:limit]


def address_of(connection: Connection) -> str:
    """What tells the lists of a server and a database apart; in the order of the connections."""
    return f"{connection.name}{'' if connection.app is not None else '+rows'}"


async def read_job(id: str, place: Place, db: str | None) -> dict[str, Any]:
    """One job, from the server or the database or else from the history file.

    Raises:
        ResultExpired: the job is in none of them.
    """
    hidden = hidden_here()
    async with inspectors(place) as opened:
        for each in opened:
            hidden = hidden.joined(each.hidden)
            info = await each.inspector.job(id)
            if info is not None:
                described = describe_job(each, info) | await columns_of(each, id)
                # A worker sends both in one call, so a checkpoint that was read has its progress on the server.
                saved = await checkpoint_of(each, id) if info.outcome is None else None
                if info.status is Status.RUNNING and (progress := await progress_of(each, id)) is not None:
                    described["progress"] = msgspec.structs.asdict(progress)
                if saved is not None:
                    described["checkpoint"] = saved
                if info.status is Status.RUNNING:
                    described |= await _run_of(each, id)
                why = await _why(each, info, described.get("queue", ""))
                return await _whole(each, described, db) | ({"why": why} if why else {})
    found, where = await in_history(id, place.name, db, hidden)
    if found is not None:
        return found
    raise ResultExpired(f'No job "{id}" is known: {place.why_unknown}. {where}')


async def _run_of(connection: Connection, id: str) -> dict[str, Any]:
    """When a running job started, and the seconds until its time limit, as its host has reported; empty: it has not, or
    the job is not among those that have run longest there."""
    for host in await hosts_of(connection):
        for each in host.get("running", ()):
            if each["id"] == id:
                age = host["age"] or 0.0
                left = {} if each["left"] is None else {"seconds_left": max(each["left"] - age, 0.0)}
                return {"started_at": time.time() - each["seconds"] - age, **left}
    return {}


async def _whole(connection: Connection, found: dict[str, Any], db: str | None) -> dict[str, Any]:
    """A job; one that has ended with what the history knows besides: its call, and its earlier runs."""
    if found.get("arguments") is not None or not found.get("finished_at"):
        return found
    recorded, _ = await in_history(found["id"], connection.name, db, connection.hidden)
    more = {name: value for name, value in (recorded or {}).items() if value is not None and name != "from"}
    return {**more, **{name: value for name, value in found.items() if value is not None or name not in more}}


#: Seconds after which a job that is due and has not moved is late.
_LATE = 1.0
#: Why a job has not started, by its status.
_WHY = {
    Status.SCHEDULED: "it is not due yet",
    Status.RETRYING: "its last run failed, and the next one is not due yet",
    Status.PARKED: "no worker that could run it has claimed it since it was parked",
    Status.WAITING: "jobs whose values it takes, or that it follows, have not ended",
}


async def _why(connection: Connection, info: JobInfo, queue: str) -> str:
    """Why a job has not started, as a sentence without its end; empty: it has, or it is not known."""
    if info.status is Status.PARKED and (waits_for := await pause_awaited(connection, info.need)):
        return waits_for
    if info.status in (Status.SCHEDULED, Status.RETRYING) and await _is_overdue(connection, info):
        return (
            "it is due, and no live worker of the app has put it into its queue. Start one: aiotask worker your.module"
        )
    if info.status is not Status.PENDING:
        return _WHY.get(info.status, "")
    known = [each for each in (await connection.inspector.stats()).queues if each.name == queue]
    if not known:
        return ""
    if known[0].paused:
        return f"the queue {queue} is paused; aiotask queues shows why. To resume it: aiotask queues resume {queue}"
    if not known[0].consumers:
        return f"no live worker consumes the queue {queue}"
    return await why_in_line(connection, info) or (
        f"the workers of the queue {queue} are busy, or run others first: {known[0].pending:,} jobs are pending there"
    )


async def _is_overdue(connection: Connection, info: JobInfo) -> bool:
    """Whether the time of a job came a while ago, by the clock of the server, and no worker of the app is live."""
    if connection.app is None or not info.due_at or await connection.inspector.workers():
        return False
    return (await connection.inspector.facts()).time > info.due_at + _LATE


async def columns_of(connection: Connection, id: str) -> dict[str, Any]:
    """The failed runs of a row, and the columns that are the user's; of a task nothing."""
    if connection.app is not None:
        return {}
    found = await cast("RowInspector", connection.inspector).columns(id)
    return {name: connection.hidden.value(each) for name, each in found.items()}


async def in_history(id: str, name: str | None, db: str | None, hidden: Hidden) -> tuple[dict[str, Any] | None, str]:
    """The job as the history file has it, if there is one; and where the job was looked for, as a sentence."""
    try:
        history = ResultDB(db)
    except ConfigError:
        return None, "To search a history file too, name it with --db FILE (AIOTASK_RESULT_DB)."
    if not history.path.exists():
        return None, f'No history file was found ("{history.path}"); name it with --db FILE (AIOTASK_RESULT_DB).'
    try:
        record = await history.fetch_record(id)
        hidden = hidden.joined(await history.hidden())
    except AiotaskError as error:
        return None, f"The history file could not be read: {error}"
    finally:
        await history.close()
    if record is None or name not in (None, record.app):
        return None, f'It is not in the history file "{history.path}" either.'
    found = describe_record(record, hidden)
    # The fields are named as those of a job on the server.
    for there, here in (("attempts", "attempt"), ("result", "value")):
        found[here] = found.pop(there)
    return {**found, "from": f"the history file {history.path}"}, ""
