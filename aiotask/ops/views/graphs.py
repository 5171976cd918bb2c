"""The graphs, and one of them: jobs that were sent together."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from ..graphs import read_graph, read_page
from .look import Look

__all__ = ["graph", "graphs"]

#: Lines of a drawn graph.
_LINES = 300


async def graphs(look: Look) -> dict[str, Any]:
    limit = look.rows
    start = look.start
    page = await read_page(look.place, limit + 1, start)
    following = str(start + limit) if len(page) > limit else ""
    return {"title": "Graphs", "graphs": page[:limit], "after": following}


async def graph(look: Look, id: str) -> dict[str, Any]:
    found = await read_graph(id, look.place, look.result_db)
    lines = list(islice(found.graph.tree(), _LINES + 1))
    statuses = Counter(node.status for node in found.graph.nodes)
    return {
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
