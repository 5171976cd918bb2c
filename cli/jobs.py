"""``aiotask jobs``: what is on the server, and jobs that are run at once, sent again, or moved to another queue."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bulk import DryRun, act, check_alone, print_each
from .filters import (
    After,
    Ended,
    InQueue,
    JobIdOrNone,
    Limit,
    OfTask,
    Since,
    Until,
    WithError,
    WithId,
    WithKey,
    WithText,
)
from .group import ByDefault, add
from .job_pages import SEARCH_TIME, show_page
from .one_job import show_one
from .options import AppName, Database, File, Json, Url, Yes, option
from .output import console, plain, print_json

if TYPE_CHECKING:
    from aiotask.ops.connection import Place

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the jobs on the server, run scheduled ones at once, send jobs again, or move them to another queue.",
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


WithEnd = Annotated[
    Ended | None,
    option(
        "--status",
        "-s",
        envvar="AIOTASK_RESEND_STATUS",
        metavar="STATUS",
        case_sensitive=False,
        show_default="dead letters",
        help=f"Jobs of the history file that ended as: {', '.join(Ended)}.",
    ),
]


class Order(StrEnum):
    """Orders of jobs in queues."""

    NEWEST = "newest"
    OLDEST = "oldest"


InOrder = Annotated[
    Order | None,
    option(
        "--order",
        metavar="ORDER",
        case_sensitive=False,
        show_default="newest in a search, else oldest",
        help="Which jobs in queues come first: newest or oldest.",
    ),
]


def list_(
    id: JobIdOrNone = None,
    status: InStatus = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    key: WithKey = None,
    text: WithText = "",
    order: InOrder = None,
    limit: Limit = 20,
    after: After = "",
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """List the unfinished jobs on the server, or its dead letters.

    Jobs in queues and parked ones come first, in the order in which they are claimed; in a search (--task, --text,
    --id), those that came last first. --order says which. Then come scheduled ones by due time, and those that wait for
    others. Running ones alone come in the order in which they were claimed, dead letters the latest first.

    A page ends with the place where the next one begins. To list finished jobs: [bold]aiotask results[/bold]. With an
    ID, it shows that job, as [bold]aiotask job ID[/bold] does.
    With --database, rows that are jobs are among them; the ID of a row is its table and its key.

    [bold]Examples[/bold]

      aiotask jobs
      aiotask jobs --status running --queue mail
      aiotask jobs --status dead --task shop.tasks:render --limit 50
      aiotask jobs --id 00a1b2c3d4e5f6a7b --json
      aiotask jobs --task shop.tasks:invoice --key order-7
      aiotask jobs --queue mail --text ada@example.org
      aiotask jobs --status pending --order newest
      aiotask jobs --database postgresql://db/shop
    """
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.inspector import JobFilter
    from aiotask.ops.connection import Place
    from aiotask.ops.jobs import Found, is_newest_first, read_job, read_keyed, read_page, search

    place = Place(name, url, database)
    if id is not None:
        found = asyncio.run(read_job(id, place, db))
        print_json(found) if as_json else show_one(found)
        if not as_json:
            console().print(f"[dim]Shown by: aiotask job {plain(id)}[/dim]", soft_wrap=True)
        return
    if key is not None:
        if status or queue or beginning or text or order or after:
            others = "--status, --queue, --id, --text, --order and --after"
            raise ConfigError(f"--key goes with --task alone: leave out {others}.")
        keyed = asyncio.run(read_keyed(place, task, key, limit))
        if as_json:
            print_json(keyed)
        else:
            show_page(Found(keyed), is_first=True, in_database=database is not None)
        return
    wanted = JobFilter(_status(status), queue, task, beginning, text)
    newest = is_newest_first(wanted, order.value if order else "")
    if as_json:
        print_json(asyncio.run(read_page(place, wanted, after, limit, newest=newest)))
        return
    page = asyncio.run(search(place, wanted, after, limit, newest=newest, seconds=SEARCH_TIME))
    show_page(page, is_first=not after, in_database=database is not None)


def run_now(
    ids: JobIds = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    text: WithText = "",
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
        check_alone(queue, task, beginning, text)
        done = asyncio.run(Actions(place, operator()).run_now(list(dict.fromkeys(ids))))
        print_each(done, as_json=as_json)
        return
    act(Action.RUN_NOW, (None, queue, task, beginning), place, yes=yes, dry_run=dry_run, as_json=as_json, text=text)


def resend(
    ids: JobIds = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    text: WithText = "",
    error: WithError = None,
    status: WithEnd = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Send jobs again as new jobs: by ID, or all dead letters that a filter finds, or with --status all jobs of the
    history file that ended so.

    The new job has another ID, the same arguments, queue, priority and limit, and begins with its first attempt; it
    does not expire and is not unique. With an ID, the history file is searched too. A job of a graph is skipped: it
    runs again with its graph ([bold]aiotask graphs replay[/bold]). A job of which the history has the outcome alone is
    skipped, too: how many there were is printed.

    With a filter, each job is sent once however often the command is repeated, while the new job or its outcome is on
    the server, or with --status in the history file. To run a dead letter under its own ID:
    [bold]aiotask dead replay[/bold].

    [bold]Examples[/bold]

      aiotask jobs resend 00a1b2c3d4e5f6a7b-2a
      aiotask jobs resend --task shop.tasks:render
      aiotask jobs resend --queue mail --error ConnectionRefused --yes
      aiotask jobs resend --status failed --task shop.tasks:render --since 1h
    """
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.job import Status
    from aiotask.ops.actions import Actions
    from aiotask.ops.bulk import Action
    from aiotask.ops.connection import Place
    from aiotask.ops.ended import OfHistory
    from aiotask.ops.visitors import operator

    place = Place(name, url)
    if ids:
        check_alone(queue, task, beginning, text, error, status, since, until)
        done = asyncio.run(Actions(place, operator()).resend(list(dict.fromkeys(ids)), db))
        print_each(done, as_json=as_json)
        return
    if status is None and (since is not None or until is not None):
        raise ConfigError(
            "Nothing was done: --since and --until are for jobs of the history. Add --status failed, or leave them out "
            "to send dead letters again."
        )
    act(
        Action.RESEND,
        (Status(status.value.upper()) if status else None, queue, task, beginning),
        place,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        text=text,
        error=error or "",
        of_history=OfHistory(db, since, until) if status else None,
    )


To = Annotated[str, option("--to", metavar="QUEUE", show_default=False, help="The queue to which they go.")]


def move(
    ids: JobIds = None,
    to: To = "",
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    text: WithText = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Move jobs that no worker has to another queue: by ID, or all that a filter finds.

    A job keeps its ID, arguments, priority, attempts, limit, unique key and due time. A limited job keeps its place
    among those of its limit, and a parked one waits for a worker of that queue. Running jobs and those that wait for
    other jobs stay. The command may be interrupted and repeated: no job is lost or runs twice.

    [bold]Examples[/bold]

      aiotask jobs move 00a1b2c3d4e5f6a7b-2a --to slow
      aiotask jobs move --queue mail --task shop.tasks:newsletter --to slow
      aiotask jobs move --text acme --to slow --dry-run
    """
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.ops.actions import Actions
    from aiotask.ops.bulk import Action
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    if not to:
        raise ConfigError("Nothing was done: name the queue to which the jobs go: --to QUEUE")
    place = Place(name, url)
    if not ids:
        chosen = None, queue, task, beginning
        act(Action.MOVE, chosen, place, yes=yes, dry_run=dry_run, as_json=as_json, to=to, text=text)
        return warn_if_unserved(to, place, as_json=as_json)
    check_alone(queue, task, beginning, text)
    done = asyncio.run(Actions(place, operator()).move(list(dict.fromkeys(ids)), to))
    if any(each["did"] == "done" for each in done):
        warn_if_unserved(to, place, as_json=as_json)
    print_each(done, as_json=as_json)


def warn_if_unserved(queue: str, place: Place, *, as_json: bool) -> None:
    """Say if no live worker consumes the queue to which jobs were moved."""
    import asyncio

    from aiotask.ops.bulk import told_if_unserved

    if (said := asyncio.run(told_if_unserved(queue, place))) and not as_json:
        console().print(f"[yellow]{plain(said, 300)}[/yellow]", soft_wrap=True)


def _status(wanted: Wanted | None) -> Any:
    """The status for which the word stands; dead letters are FAILED."""
    from aiotask.job import Status

    if wanted is None:
        return None
    return Status.FAILED if wanted is Wanted.DEAD else Status(wanted.value.upper())


add(app, list_, name="list")
add(app, run_now, name="run-now")
add(app, resend)
add(app, move)
