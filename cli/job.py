"""``aiotask job ID``: one job, with everything that is known about it."""

from __future__ import annotations

from typing import Annotated

import typer

from .one_job import show_one
from .options import AppName, Database, File, Json, Url
from .output import print_json

__all__ = ["job"]

JobId = Annotated[str, typer.Argument(metavar="ID", help="ID of the job.")]


def job(
    id: JobId,
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Show one job with everything that is known about it, and why it waits.

    It is looked for on the server, in the database (--database) and in the history file. The ID of a row is its table
    and its key.

    [bold]Examples[/bold]

      aiotask job 00a1b2c3d4e5f6a7b-2a
      aiotask job 00a1b2c3d4e5f6a7b-2a --json
      aiotask job thumbnails/42 --database postgresql://db/shop
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.jobs import read_job

    found = asyncio.run(read_job(id, Place(name, url, database), db))
    print_json(found) if as_json else show_one(found)
