"""``aiotask graphs``: the graphs on the server, and replays of what did not end well."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .group import ByDefault, add
from .options import AppName, Json, Url, count, option
from .output import ago, console, informative, page_table, plain, print_error, print_json

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the graphs on the server, or run the failed jobs of one again.",
    rich_markup_mode="rich",
)

GraphId = Annotated[str, typer.Argument(metavar="ID", help="ID of the graph, or of any job in it.")]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of graphs per page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Number of graphs to skip.")]

#: Characters of ``59 min ago``, the longest text for a moment.
_LONGEST_MOMENT = 10
_COLOURS = {"accepted": "green", "cancelled": "yellow"}


def list_(limit: Limit = 20, offset: Offset = 0, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """List the graphs on the server: first those with unfinished jobs, then those that have ended.

    A graph that has ended is kept as long as the outcome of its root; one in which a job did not succeed, for at
    least a day.

    [bold]Examples[/bold]

      aiotask graphs
      aiotask graphs list --limit 50 --offset 50
      aiotask graphs --json | jq -r '.[] | select(.left > 0).id'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.graphs import read_page

    page = asyncio.run(read_page(Place(name, url), limit, offset))
    if as_json:
        print_json(page)
    else:
        _show_page(page, limit, offset)


def replay(id: GraphId, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Run again the jobs of a graph that did not succeed, and all jobs downstream of them.

    The jobs keep their IDs, and their retries and deaths are counted anew. Jobs that ended as SUCCESS do not run
    again: their values are used. The exit code is 1, and nothing is done, while jobs of the graph have not ended, and
    where a value that is needed is no longer kept.

    [bold]Examples[/bold]

      aiotask graphs replay 00a1b2c3d4e5f6a7b-2a
      aiotask graphs replay 00a1b2c3d4e5f6a7b-2a --json
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    done = asyncio.run(Actions(Place(name, url), operator()).replay_graph(id))
    if as_json:
        print_json(done)
    elif done["refused"]:
        print_error(f"{done['refused']} See: aiotask graph {done['id']}")
    else:
        console().print(_said(done["id"], done["replayed"]), soft_wrap=True)
    if done["refused"]:
        raise typer.Exit(1)


# ---- for people


def _said(graph: str, number: int) -> str:
    if not number:
        return f"Nothing is to be run again: every job of graph {plain(graph)} ended well."
    jobs = "1 job runs" if number == 1 else f"{number:,} jobs run"
    return f"{jobs} again in graph {plain(graph)}. [dim]Watch: aiotask graph {plain(graph)}[/dim]"


def _show_page(page: list[dict[str, Any]], limit: int, offset: int) -> None:
    terminal = console()
    if not page:
        terminal.print("There are no more graphs." if offset else "There are no graphs on the server.")
        return
    columns = ["app", "id", "task", "state", "jobs ended", "failed", "since"]
    rows = [
        [
            plain(graph["app"]),
            plain(graph["id"]),
            plain(graph["task"] or "(group)"),
            _coloured(graph["state"]),
            f"{graph['total'] - graph['left']:,}/{graph['total']:,}",
            "?" if graph["failed"] is None else f"{graph['failed'] or ''}",
            ago(graph["since"], brief=True),
        ]
        for graph in page
    ]
    shown = page_table(
        *informative(columns, rows), terminal.width, right=("jobs ended", "failed"), last_width=_LONGEST_MOMENT
    )
    terminal.print(shown)
    if len(page) >= limit:
        terminal.print(f"[dim]Next page: --offset {offset + limit}[/dim]")
    terminal.print("[dim]One of them: aiotask graph ID. Run again what failed: aiotask graphs replay ID[/dim]")


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/{colour}]" if colour else state


add(app, list_, name="list")
add(app, replay)
