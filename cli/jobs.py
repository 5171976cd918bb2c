"""``aiotask jobs``: what is on the server, and all about one job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .described import coloured, described_letter, opened_job, opened_outcome, show_one
from .options import AppName, File, Json, Url, count, option
from .output import ago, console, page_table, plain, print_json, telling

if TYPE_CHECKING:
    from aiotask.inspector import JobInfo

    from .connection import Connection

__all__ = ["described", "jobs"]


class Wanted(StrEnum):
    """Statuses of unfinished jobs, and the dead letters."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"
    DEAD = "dead"


JobId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Show only this job, with everything that is known about it.")
]
InStatus = Annotated[
    Wanted | None,
    option(
        "--status",
        "-s",
        metavar="STATUS",
        case_sensitive=False,
        help=f"Only jobs with this status: {', '.join(Wanted)}.",
    ),
]
InQueue = Annotated[str | None, option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of jobs per page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Number of jobs to skip.")]


def jobs(
    id: JobId = None,
    status: InStatus = None,
    queue: InQueue = None,
    limit: Limit = 20,
    offset: Offset = 0,
    name: AppName = None,
    url: Url = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Show the unfinished jobs on the server, its dead letters, or one job.

    With an ID, the history file is searched too. To list finished jobs: [bold]aiotask results[/bold].

    [bold]Examples[/bold]

      aiotask jobs
      aiotask jobs --status running --queue mail
      aiotask jobs --status dead --limit 50 --offset 50
      aiotask jobs 00a1b2c3d4e5f6a7b-2a
    """
    import asyncio

    if id is not None:
        found = asyncio.run(_one(id, name, url, db))
        print_json(found) if as_json else show_one(found)
        return
    page = asyncio.run(_page(name, url, status, queue, limit, offset))
    if as_json:
        print_json(page)
        return
    _show_page(page, limit, offset)


async def _page(
    name: str | None, url: str | None, status: Wanted | None, queue: str | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    from aiotask.job import Status

    from .connection import inspectors

    asked = Status(status.value.upper()) if status and status is not Wanted.DEAD else None

    async def read(connection: Connection, limit: int, offset: int) -> list[dict[str, Any]]:
        if status is Wanted.DEAD:
            return await _dead_page(connection, queue, limit, offset)
        listed = await connection.inspector.jobs(status=asked, queue=queue, limit=limit, offset=offset)
        return [described(connection, info) for info in listed]

    async with inspectors(name, url) as opened:
        return await _over_all(opened, read, limit, offset)


async def _over_all(
    opened: list[Connection],
    read: Callable[[Connection, int, int], Awaitable[list[dict[str, Any]]]],
    limit: int,
    offset: int,
) -> list[dict[str, Any]]:
    """One page over all apps, in their order: ``limit`` and ``offset`` count the jobs of all of them."""
    page: list[dict[str, Any]] = []
    for each in opened:
        found = await read(each, limit - len(page), offset)
        page += found
        if len(page) >= limit:
            break
        # This app has been read to its end. What it had before the page is not to be skipped in the next one again.
        offset = 0 if found else offset - await _count(each, read, offset)
    return page


async def _count(
    connection: Connection, read: Callable[[Connection, int, int], Awaitable[list[dict[str, Any]]]], most: int
) -> int:
    """How many jobs this app has, ``most`` at most."""
    counted = 0
    while counted < most and (found := await read(connection, min(500, most - counted), counted)):
        counted += len(found)
    return counted


async def _dead_page(connection: Connection, queue: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
    """Dead letters are kept by time alone, so those of one queue are picked here, a bounded number at a time."""
    found: list[dict[str, Any]] = []
    start, wanted = (offset, limit) if queue is None else (0, offset + limit)
    while len(found) < wanted:
        letters = await connection.inspector.dead(limit=min(limit, 500) if queue is None else 500, offset=start)
        jobs = [described_letter(connection, letter) for letter in letters]
        found += [job for job in jobs if queue in (None, job.get("queue"))]
        start += len(letters)
        if not letters:
            break
    return found[:limit] if queue is None else found[offset:wanted]


async def _one(id: str, name: str | None, url: str | None, db: str | None) -> dict[str, Any]:
    from aiotask.errors import ResultExpired

    from .connection import inspectors

    async with inspectors(name, url) as opened:
        for each in opened:
            info = await each.inspector.job(id)
            if info is not None:
                return described(each, info)
    found, where = await _in_history(id, name, db)
    if found is not None:
        return found
    raise ResultExpired(
        f'No job "{id}" is on the server: it was never sent, or it finished longer ago than its result TTL. {where}'
    )


async def _in_history(id: str, name: str | None, db: str | None) -> tuple[dict[str, Any] | None, str]:
    """The job as the history has it, if there is a history; and what was looked at, in words."""
    from aiotask.errors import AiotaskError
    from aiotask.history.resultdb import ResultDB

    from .results import described as row

    history = ResultDB(db)
    if not history.path.exists():
        return None, f'No history file was found ("{history.path}"); name it with --db FILE (AIOTASK_RESULT_DB).'
    try:
        record = await history.fetch_record(id)
        await history.close()
    except AiotaskError as error:
        return None, f"The history file could not be read: {error}"
    if record is None or name not in (None, record.app):
        return None, f'It is not in the history file "{history.path}" either.'
    found = row(record)
    # The names that a job on the server has.
    for name, here in (("attempts", "attempt"), ("result", "value")):
        found[here] = found.pop(name)
    return {**found, "from": f"the history file {history.path}"}, ""


def described(connection: Connection, info: JobInfo) -> dict[str, Any]:
    """All that can be said of a job without loading what it carries."""
    job: dict[str, Any] = {
        "app": connection.app.name,
        "id": info.id,
        "status": info.status.value,
        "attempt": info.meta.attempt,
    }
    if info.meta.deaths:
        job |= {"deaths": info.meta.deaths, "last_death": info.meta.reason}
    if info.sealed is not None:
        job |= opened_job(connection, info.sealed)
    if info.status == "PARKED":
        # ``parked:NEED|entry``: a task that no worker knew, or a version of Python.
        job["needs"] = info.place.removeprefix("parked:").partition("|")[0]
    for key, value in (("due_at", info.due_at), ("worker", info.worker)):
        if value:
            job[key] = value
    if info.outcome is not None:
        job |= opened_outcome(connection, info.outcome)
    return job


# ---- for people


def _show_page(page: list[dict[str, Any]], limit: int, offset: int) -> None:
    terminal = console()
    if not page:
        terminal.print(
            "There are no more jobs." if offset else "No unfinished job matches. For finished jobs: aiotask results"
        )
        return
    columns = ["app", "id", "status", "task", "queue", "attempt", "sent", "more"]
    rows = [
        [
            plain(job["app"]),
            plain(job["id"]),
            coloured(job["status"]),
            plain(job.get("task", "?")),
            plain(job.get("queue", "?")),
            str(job.get("attempt", "")),
            ago(job.get("sent_at")),
            _more(job),
        ]
        for job in page
    ]
    terminal.print(page_table(*telling(columns, rows), terminal.width))
    if len(page) >= limit:
        terminal.print(f"[dim]Next page: --offset {offset + limit}[/dim]")


def _more(job: dict[str, Any]) -> str:
    if "error" in job:
        return plain(job["error"], 80)
    if "sealed" in job:
        return plain(job["sealed"])
    if "due_at" in job:
        return f"due {ago(job['due_at'])}"
    if job["status"] == "RUNNING":
        return plain(job.get("worker", ""))
    return plain(job.get("last_death", ""))
