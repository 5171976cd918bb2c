"""``/graphs`` and ``/graphs/ID``: jobs that were sent together."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from ....ops.graphs import read_graph, read_page
from ..view import View
from .shown import Shown, named

__all__ = ["graph", "graphs"]

#: Lines of a drawn graph.
_LINES = 300


async def graphs(view: View) -> Shown:
    limit = view.rows
    start = view.number("after", 0, 1_000_000) if view.asked("after") else 0
    page = await read_page(view.place, limit + 1, start)
    following = str(start + limit) if len(page) > limit else ""
    return Shown("graphs.html", {"title": "Graphs", "graphs": page[:limit], "after": following})


async def graph(view: View) -> Shown:
    id = named(view, "id")
    found = await read_graph(id, view.place, view.result_db)
    lines = list(islice(found.graph.tree(), _LINES + 1))
    statuses = Counter(node.status for node in found.graph.nodes)
    data = {
        "title": f"Graph {found.graph.id}",
        "graph": found,
        "id": found.graph.id,
        "lines": lines[:_LINES],
        "is_cut": len(lines) > _LINES,
        "statuses": statuses.most_common(),
        "total": len(found.graph.nodes),
        "is_over": found.info is None or found.info.state == "ended",
        "has_failed": any(statuses[name] for name in ("FAILED", "EXPIRED", "CANCELLED")),
    }
    return Shown("graph.html", data)
