"""Dead letters: jobs that were given up, by error and task, and one by one."""

from __future__ import annotations

from typing import Any

from ..connection import Connection
from ..letters import Filter, read_letter, read_page
from .look import Look

__all__ = ["by_error", "dead", "letter"]

#: Letters that are grouped by their errors: the newest ones.
_GROUPED = 5_000


async def dead(look: Look) -> dict[str, Any]:
    wanted = Filter(look.asked("task") or None, look.asked("queue") or None, look.asked("error") or None)
    page = await read_page(look.place, wanted, look.asked("after", 500), look.rows)
    stats = await look.stats()
    return {
        "title": "Dead letters",
        "letters": page,
        "after": page[-1].get("after", "") if page else "",
        "wanted": wanted,
        "total": stats.dead,
        "groups": await look.kept("failures", 2.0, lambda: by_error(look.connection)),
        "grouped": min(_GROUPED, stats.dead),
        "queues": sorted(each.name for each in stats.queues),
    }


async def by_error(connection: Connection) -> list[dict[str, Any]]:
    """The newest dead letters by error and task: the most frequent first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for each in await connection.inspector.letters(None, _GROUPED):
        error, _, message = (each.error or "?").partition(": ")
        first = {
            "error": error,
            "task": each.task or "?",
            "message": message,
            "number": 0,
            "latest": each.at,
            "line": (),
        }
        group = groups.setdefault((error, each.task), first)
        group["number"] += 1
    return sorted(groups.values(), key=lambda group: (-group["number"], -group["latest"]))


async def letter(look: Look, id: str) -> dict[str, Any]:
    found = await read_letter(id, look.place)
    return {
        "title": f"Dead letter {id}",
        "id": id,
        "letter": found,
        "arguments": found.get("arguments"),
        "error": f"{found.get('error') or ''}\n\n{found.get('traceback') or ''}".strip(),
    }
