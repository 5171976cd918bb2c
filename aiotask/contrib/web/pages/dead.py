"""``/dead``: jobs that were given up, by error and task, and one by one."""

from __future__ import annotations

from typing import Any

from ....ops.connection import Connection
from ....ops.letters import Filter, read_letter, read_page
from .. import text
from ..view import View
from .shown import Shown, named

__all__ = ["by_error", "dead", "letter"]

#: Letters that are grouped by their errors: the newest ones.
_GROUPED = 5_000


async def dead(view: View) -> Shown:
    wanted = Filter(view.asked("task") or None, view.asked("queue") or None, view.asked("error") or None)
    page = await read_page(view.place, wanted, view.asked("after", 500), view.rows)
    stats = await view.stats()
    data = {
        "title": "Dead letters",
        "letters": page,
        "after": page[-1].get("after", "") if page else "",
        "wanted": wanted,
        "total": stats.dead,
        "groups": await view.kept("failures", 2.0, lambda: by_error(view.connection)),
        "grouped": min(_GROUPED, stats.dead),
        "queues": sorted(each.name for each in stats.queues),
    }
    return Shown("dead.html", data)


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


async def letter(view: View) -> Shown:
    id = named(view, "id")
    found = await read_letter(id, view.place)
    arguments = found.get("arguments")
    data = {
        "title": f"Dead letter {id}",
        "id": id,
        "letter": found,
        "arguments": None if arguments is None else text.call(arguments, view.site.settings.hide),
        "error": f"{found.get('error') or ''}\n\n{found.get('traceback') or ''}".strip(),
    }
    return Shown("letter.html", data)
