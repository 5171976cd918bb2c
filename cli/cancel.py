"""``aiotask cancel``: end jobs, wherever they are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .bulk import DryRun, act, check_alone
from .filters import InQueue, OfTask, WithId, WithText
from .options import AppName, Database, Json, Url, Yes, option
from .output import console, plain, print_json

__all__ = ["cancel"]

JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="IDs of the jobs or graphs to cancel.")]
Everything = Annotated[bool, option("--all", help="Every unfinished job.")]


class Unfinished(StrEnum):
    """Statuses of unfinished jobs."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"


InStatus = Annotated[
    Unfinished | None,
    option(
        "--status",
        "-s",
        metavar="STATUS",
        case_sensitive=False,
        help=f"Only jobs with this status: {', '.join(Unfinished)}.",
    ),
]


def cancel(
    ids: JobIds = None,
    status: InStatus = None,
    queue: InQueue = None,
    task: OfTask = None,
    beginning: WithId = "",
    text: WithText = "",
    everything: Everything = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs or graphs, by ID, or all jobs that a filter finds: jobs that wait end at once; running jobs are
    interrupted, and killed if they do not react.

    With the ID of a graph, all its jobs that have not ended are cancelled. With the ID of another job of a graph, that
    job alone; those that need its value fail.

    With a filter, the number of jobs is shown, and the command asks, unless --yes is given. It may be interrupted and
    repeated. Jobs that are sent after it began are not cancelled.

    The ID of a row is its table and its key; it needs --database.

    The callers that await a job get JobCancelled. Repeating the command does no harm. The exit code is 1 if a job
    with one of the IDs had already ended in another way, or is unknown.

    [bold]Examples[/bold]

      aiotask cancel 00a1b2c3d4e5f6a7b-2a
      aiotask cancel 00a1b2c3d4e5f6a7b-2a 00a1b2c3d4e5f6a7b-2b --name shop
      aiotask cancel thumbnails/42 --database sqlite:///shop.db
      aiotask cancel --queue mail --status scheduled
      aiotask cancel --task shop.tasks:render --yes
      aiotask cancel --text ada@example.org --dry-run
      aiotask cancel --all --name shop --dry-run
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    if not ids:
        from aiotask.job import Status
        from aiotask.ops.bulk import Action

        chosen = (Status(status.value.upper()) if status else None, queue, task, beginning)
        place = Place(name, url, database)
        act(Action.CANCEL, chosen, place, yes=yes, dry_run=dry_run, as_json=as_json, everything=everything, text=text)
        return
    check_alone(everything, status, queue, task, beginning, text)
    done = asyncio.run(Actions(Place(name, url, database), operator()).cancel(list(dict.fromkeys(ids))))
    if as_json:
        print_json(done)
    else:
        for each in done:
            mark = "[green]⊘[/green]" if each["status"] in ("CANCELLED", "RUNNING") else "[red]![/red]"
            shown = " ".join(plain(each[key], 300) for key in ("id", "task", "said") if each[key])
            console().print(f"{mark} {shown}", soft_wrap=True)
    if any(each["status"] not in ("CANCELLED", "RUNNING") for each in done):
        raise typer.Exit(1)
