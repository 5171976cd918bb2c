"""``aiotask graph``: one graph as a tree, as a Mermaid diagram, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from .one_job import coloured
from .options import AppName, File, Json, Url, count, option
from .output import ago, console, plain, print_json

if TYPE_CHECKING:
    from aiotask.ops.graphs import FoundGraph
    from aiotask.results.graph import TreeLine

__all__ = ["graph"]

#: Characters that the text of a line gets at least, whatever its depth in the tree.
_TEXT_WIDTH = 50
#: Levels by which the tree is indented at most.
_DEEPEST = 24

GraphId = Annotated[str, typer.Argument(metavar="ID", help="ID of the graph, or of any job in it.")]
Mermaid = Annotated[bool, option("--mermaid", help="Print a Mermaid flowchart.")]
Lines = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of lines per page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Number of lines to skip.")]


def graph(
    id: GraphId,
    mermaid: Mermaid = False,
    limit: Lines = 200,
    offset: Offset = 0,
    name: AppName = None,
    url: Url = None,
    db: File = None,
    as_json: Json = False,
) -> None:
    """Show the graph that was sent together with a job, and the status of each job in it.

    Below each job stand those whose values it takes, and the calls that its run has returned. More than 20 siblings of
    one task are one line with counts. A job that is needed more than once is shown in full once, and then with
    "see above". The history file is searched for a job whose outcome is no longer kept.

    [bold]Examples[/bold]

      aiotask graph 00a1b2c3d4e5f6a7b-2a
      aiotask graph 00a1b2c3d4e5f6a7b-2a --mermaid > graph.mmd
      aiotask graph 00a1b2c3d4e5f6a7b-2a --json | jq '.nodes[].status'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.graphs import read_graph

    found = asyncio.run(read_graph(id, Place(name, url), db))
    if mermaid:
        print(found.graph.mermaid())
    elif as_json:
        print_json(found.described())
    else:
        _show(found, limit, offset)


# ---- for people


def _show(found: FoundGraph, limit: int, offset: int) -> None:
    terminal = console()
    terminal.print(_headline(found), soft_wrap=True)
    deepest = min(_DEEPEST, max(4, (terminal.width - _TEXT_WIDTH) // 2))
    lines = found.graph.tree()
    for line in islice(lines, offset, offset + limit):
        terminal.print(f"{'  ' * min(line.depth, deepest)}{_text(line)}", soft_wrap=True)
    if next(lines, None) is not None:
        terminal.print(f"[dim]Next page: --offset {offset + limit}[/dim]")
    if found.info is not None and (hint := _hint(found)):
        terminal.print(f"[dim]{hint}[/dim]", soft_wrap=True)


def _headline(found: FoundGraph) -> str:
    if found.info is None:
        return f"Job {plain(found.graph.id)} is in no graph."
    nodes = found.graph.nodes
    statuses = _counts(Counter(node.status for node in nodes).most_common())
    jobs = f"{len(nodes):,} job{'' if len(nodes) == 1 else 's'}: {statuses}"
    since = f"; {found.info.state} {ago(found.info.since)}" if found.info.since else ""
    return f"[bold]Graph {plain(found.graph.id)}[/bold], {jobs}{since}"


def _counts(statuses: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {coloured(status)}" for status, count in statuses)


def _text(line: TreeLine) -> str:
    first, number = line.nodes[0], len(line.nodes)
    task = plain(first.task or "?")
    if number > 1:
        text = f"{task} \N{MULTIPLICATION SIGN} {number:,}: {_counts(line.statuses())}"
    else:
        text = f"{task} [dim]{plain(first.id)}[/dim] {coloured(first.status)}"
    return f"{text} [dim](see above)[/dim]" if line.is_repeat else text


def _hint(found: FoundGraph) -> str:
    """The next step."""
    if found.info is not None and found.info.state == "accepted":
        return "One job: aiotask jobs ID. Cancel all of it: aiotask cancel ID"
    if any(node.status != "SUCCESS" for node in found.graph.nodes):
        return "One job: aiotask jobs ID. Run again what failed: aiotask graphs replay ID"
    return ""
