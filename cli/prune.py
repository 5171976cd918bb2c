"""``aiotask results prune``: remove old jobs from the history file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from .asking import confirm, progress
from .options import File, Json, Yes, duration, option
from .output import console, plain, print_json

if TYPE_CHECKING:
    from aiotask.history.resultdb import ResultDB

__all__ = ["prune"]

OlderThan = Annotated[
    float,
    option(
        "--older-than",
        parser=duration,
        metavar="TIME",
        show_default="30d",
        help="Remove the jobs that ended longer ago than this.",
    ),
]
Compact = Annotated[
    bool,
    option("--compact", help="Also return the freed space to the disk; recording waits until this is done."),
]


def prune(
    older_than: OlderThan = 30 * 86_400.0,
    compact: Compact = False,
    yes: Yes = False,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Remove old jobs of every app from the history file.

    Workers do this by themselves, within --result-db-age (30 days) and --result-db-size (1 GB). Outcomes on the server
    are not touched: each is removed when its result TTL is over.

    [bold]Examples[/bold]

      aiotask results prune --older-than 7d
      aiotask results prune --older-than 12h --compact --yes
      aiotask results prune --db /srv/shop/history.db
    """
    import asyncio

    from aiotask.history.resultdb import ResultDB
    from aiotask.ops.sizes import in_bytes

    history = ResultDB(db)
    before = history.path.stat().st_size if history.path.exists() else 0
    removed = asyncio.run(_prune(history, older_than, compact, yes))
    after = history.path.stat().st_size
    if as_json:
        print_json({"removed": removed, "file": str(history.path), "bytes_before": before, "bytes_after": after})
        return
    size = f"the file now takes {in_bytes(after)}" + (f", {in_bytes(before)} before" if after != before else "")
    hint = "" if compact or not removed else " (the space will be reused; --compact returns it to the disk)"
    console().print(
        f"Removed {removed:,} job{'' if removed == 1 else 's'} from {plain(history.path, 1000)}; {size}{hint}.",
        soft_wrap=True,
    )


async def _prune(history: ResultDB, older_than: float, compact: bool, yes: bool) -> int:
    from aiotask.log.events import in_words

    try:
        number = await history.count(until=time.time() - older_than)
        if number and not yes:
            what = f"{number:,} job{'' if number == 1 else 's'} that ended more than {in_words(older_than)} ago"
            confirm("remove", what, f"aiotask results --until {older_than:g}s")
        removed = 0
        if number:
            with progress("Removing old jobs", number) as show:
                removed = await history.prune(older_than, progress=show)
        if compact:
            await history.compact()
        return removed
    finally:
        await history.close()
