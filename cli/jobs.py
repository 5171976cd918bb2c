"""``aiotask jobs``: what is on the server, jobs that are run at once, and jobs that are sent again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from .bulk import DryRun, act, print_each
from .filters import After, InQueue, JobIdOrNone, Limit, OfTask, WithId, WithKey
from .group import ByDefault, add
from .one_job import coloured, needs_text, show_one
from .options import AppName, Database, File, Json, Url, Yes, option
from .output import ago, console, informative, page_table, plain, print_json, quoted

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the jobs on the server, run scheduled ones at once, or send jobs again.",
    rich_markup_mode="rich",
)

JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="IDs of the jobs.")]


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


def list_(
    id: JobIdOrNone = None,
    status: InStatus = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    key: WithKey = None,
    limit: Limit = 20,
    after: After = "",
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """List the unfinished jobs on the server, or its dead letters.

    A page ends with the place where the next one begins. To list finished jobs: [bold]aiotask results[/bold]. With an
    ID, it shows that job, as [bold]aiotask job ID[/bold] does.
    With --database, rows that are jobs are among them; the ID of a row is its table and its key.

    [bold]Examples[/bold]

      aiotask jobs
      aiotask jobs --status running --queue mail
      aiotask jobs --status dead --task shop.tasks:render --limit 50
      aiotask jobs --id 00a1b2c3d4e5f6a7b --json
      aiotask jobs --task shop.tasks:invoice --key order-7
      aiotask jobs --database postgresql://db/shop
    """
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.inspector import JobFilter
    from aiotask.ops.connection import Place
    from aiotask.ops.jobs import read_job, read_keyed, read_page

    place = Place(name, url, database)
    if id is not None:
        found = asyncio.run(read_job(id, place, db))
        print_json(found) if as_json else show_one(found)
        if not as_json:
            console().print(f"[dim]Shown by: aiotask job {plain(id)}[/dim]", soft_wrap=True)
        return
    if key is not None:
        if status or queue or beginning or after:
            raise ConfigError("--key goes with --task alone: leave out --status, --queue, --id and --after.")
        page = asyncio.run(read_keyed(place, task, key, limit))
    else:
        page = asyncio.run(read_page(place, JobFilter(_status(status), queue, task, beginning), after, limit))
    if as_json:
        print_json(page)
        return
    _show_page(page, is_first=not after, in_database=database is not None)


def run_now(
    ids: JobIds = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run scheduled and retrying jobs at once: by ID, or all that a filter finds.

    A worker takes them as soon as it has room. Repeating the command does no harm.

    [bold]Examples[/bold]

      aiotask jobs run-now 00a1b2c3d4e5f6a7b-2a
      aiotask jobs run-now --queue mail
      aiotask jobs run-now --task shop.tasks:render --yes
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.bulk import Action
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    place = Place(name, url)
    if ids:
        done = asyncio.run(Actions(place, operator()).run_now(list(dict.fromkeys(ids))))
        print_each(done, as_json=as_json)
        return
    act(Action.RUN_NOW, (None, queue, task, beginning), place, yes=yes, dry_run=dry_run, as_json=as_json)


def resend(
    ids: JobIds = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Send jobs again as new jobs: by ID, or those of all dead letters that a filter finds.

    The new job has another ID, the same arguments, queue, priority and limit, and begins with its first attempt; it
    does not expire and is not unique. With an ID, the history file is searched too. A job of a graph is skipped: it
    runs again with its graph ([bold]aiotask graphs replay[/bold]).

    With a filter, each job is sent once however often the command is repeated, while the new job or its outcome is on
    the server. To run a dead letter under its own ID: [bold]aiotask dead replay[/bold].

    [bold]Examples[/bold]

      aiotask jobs resend 00a1b2c3d4e5f6a7b-2a
      aiotask jobs resend --task shop.tasks:render
      aiotask jobs resend --queue mail --yes
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.bulk import Action
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    place = Place(name, url)
    if ids:
        done = asyncio.run(Actions(place, operator()).resend(list(dict.fromkeys(ids)), db))
        print_each(done, as_json=as_json)
        return
    act(Action.RESEND, (None, queue, task, beginning), place, yes=yes, dry_run=dry_run, as_json=as_json)


def _status(wanted: Wanted | None) -> Any:
    """The status for which the word stands; dead letters are FAILED."""
    from aiotask.job import Status

    if wanted is None:
        return None
    return Status.FAILED if wanted is Wanted.DEAD else Status(wanted.value.upper())


# ---- for people

#: Least width of the last column, in characters.
_LEAST_MORE = 8


def _show_page(page: list[dict[str, Any]], *, is_first: bool, in_database: bool) -> None:
    terminal = console()
    if not page:
        elsewhere = "; finished rows are in their tables" if in_database else ""
        nothing = f"No unfinished job matches. For finished jobs: aiotask results{elsewhere}"
        terminal.print(nothing if is_first else "There are no more jobs.", soft_wrap=True)
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
    # A cut moment says nothing, so these are shown whole.
    moments = [len(row[-1]) for job, row in zip(page, rows, strict=True) if "due_at" in job]
    table = page_table(*informative(columns, rows), terminal.width, last_width=max([_LEAST_MORE, *moments]))
    terminal.print(table)
    if following := page[-1].get("after"):
        terminal.print(f"[dim]Next page: --after {quoted(following)}[/dim]", soft_wrap=True)


def _more(job: dict[str, Any]) -> str:
    if "error" in job:
        return plain(job["error"], 80)
    if "sealed" in job:
        return plain(job["sealed"])
    if "due_at" in job:
        return f"due {ago(job['due_at'])}"
    if "needs" in job:
        return needs_text(job["needs"])
    if job["status"] == "WAITING":
        return f"graph {plain(job.get('graph', ''))}"
    if job["status"] == "RUNNING":
        return plain(job.get("worker", ""))
    return plain(job.get("last_death", ""))


add(app, list_, name="list")
add(app, run_now, name="run-now")
add(app, resend)
