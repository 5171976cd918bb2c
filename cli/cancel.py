"""``aiotask cancel``: end jobs, wherever they are."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import AppName, Database, Json, Url
from .output import console, plain, print_json

__all__ = ["cancel"]

JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="IDs of the jobs or graphs to cancel.")]


def cancel(
    ids: JobIds, name: AppName = None, url: Url = None, database: Database = None, as_json: Json = False
) -> None:
    """Cancel jobs or graphs: jobs that wait end at once; running jobs are interrupted, and killed if they do not react.

    With the ID of a graph, all its jobs that have not ended are cancelled. With the ID of another job of a graph, that
    job alone; those that need its value fail.

    The ID of a row is its table and its key; it needs --database.

    The callers that await a job get JobCancelled. Repeating the command does no harm. The exit code is 1 if a job
    had already ended in another way, or is unknown.

    [bold]Examples[/bold]

      aiotask cancel 00a1b2c3d4e5f6a7b-2a
      aiotask cancel 00a1b2c3d4e5f6a7b-2a 00a1b2c3d4e5f6a7b-2b --name shop
      aiotask cancel thumbnails/42 --database sqlite:///shop.db
      aiotask jobs --status scheduled --json | jq -r '.[].id' | xargs aiotask cancel
    """
    import asyncio

    from aiotask.ops.cancel import cancel_all
    from aiotask.ops.connection import Place

    done = asyncio.run(cancel_all(list(dict.fromkeys(ids)), Place(name, url, database)))
    if as_json:
        print_json(done)
    else:
        for each in done:
            mark = "[green]⊘[/green]" if each["status"] in ("CANCELLED", "RUNNING") else "[red]![/red]"
            shown = " ".join(plain(each[key], 300) for key in ("id", "task", "said") if each[key])
            console().print(f"{mark} {shown}", soft_wrap=True)
    if any(each["status"] not in ("CANCELLED", "RUNNING") for each in done):
        raise typer.Exit(1)
