"""``aiotask jobs``: what is on the server, and all about one job."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from .filters import InQueue, JobIdOrNone, Limit, Offset
from .one_job import coloured, show_one
from .options import AppName, Database, File, Json, Url, option
from .output import ago, console, informative, page_table, plain, print_json

__all__ = ["jobs"]


class Wanted(StrEnum):
    """Statuses of unfinished jobs, and the dead letters."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"
    DEAD = "dead"


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


def jobs(
    id: JobIdOrNone = None,
    status: InStatus = None,
    queue: InQueue = None,
    limit: Limit = 20,
    offset: Offset = 0,
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Show the unfinished jobs on the server, its dead letters, or one job.

    With an ID, the history file is searched too. To list finished jobs: [bold]aiotask results[/bold].
    With --database, rows that are jobs are among them; the ID of a row is its table and its key.

    [bold]Examples[/bold]

      aiotask jobs
      aiotask jobs --status running --queue mail
      aiotask jobs --status dead --limit 50 --offset 50
      aiotask jobs 00a1b2c3d4e5f6a7b-2a
      aiotask jobs thumbnails/42 --database postgresql://db/shop
    """
    import asyncio

    from aiotask.job import Status
    from aiotask.ops import letters
    from aiotask.ops.connection import Place
    from aiotask.ops.jobs import read_job, read_page

    place = Place(name, url, database)
    if id is not None:
        found = asyncio.run(read_job(id, place, db))
        print_json(found) if as_json else show_one(found)
        return
    if status is Wanted.DEAD:
        page = asyncio.run(letters.read_page(place, letters.Filter(queue=queue), limit, offset))
    else:
        asked = Status(status.value.upper()) if status else None
        page = asyncio.run(read_page(place, asked, queue, limit, offset))
    if as_json:
        print_json(page)
        return
    _show_page(page, limit, offset, in_database=database is not None)


# ---- for people


def _show_page(page: list[dict[str, Any]], limit: int, offset: int, *, in_database: bool) -> None:
    terminal = console()
    if not page:
        elsewhere = "; finished rows are in their tables" if in_database else ""
        nothing = f"No unfinished job matches. For finished jobs: aiotask results{elsewhere}"
        terminal.print("There are no more jobs." if offset else nothing, soft_wrap=True)
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
    terminal.print(page_table(*informative(columns, rows), terminal.width))
    if len(page) >= limit:
        terminal.print(f"[dim]Next page: --offset {offset + limit}[/dim]")


def _more(job: dict[str, Any]) -> str:
    if "error" in job:
        return plain(job["error"], 80)
    if "sealed" in job:
        return plain(job["sealed"])
    if "due_at" in job:
        return f"due {ago(job['due_at'])}"
    if "needs" in job:
        return f"needs {plain(job['needs'])}"
    if job["status"] == "WAITING":
        return f"graph {plain(job.get('graph', ''))}"
    if job["status"] == "RUNNING":
        return plain(job.get("worker", ""))
    return plain(job.get("last_death", ""))
