"""``/dead``: jobs that were given up, by error and task, and one by one."""

from __future__ import annotations

from typing import Any

from ....ops.connection import Connection, Place
from ....ops.letters import Filter, read_letter, read_page
from .. import text
from ..view import View
from .shown import Shown, named

__all__ = ["by_error", "dead", "letter"]

#: Letters that are grouped by their errors: the newest ones.
_GROUPED = 200


async def dead(view: View) -> Shown:
    wanted = Filter(view.asked("task") or None, view.asked("queue") or None, view.asked("error") or None)
    start = view.number("after", 0, 10_000) if view.asked("after") else 0
    page = await read_page(view.place, wanted, view.rows + 1, start)
    stats = await view.stats()
    data = {
        "title": "Dead letters",
        "letters": page[: view.rows],
        "after": str(start + view.rows) if len(page) > view.rows else "",
        "wanted": wanted,
        "total": stats.dead,
        "groups": await view.kept("failures", 2.0, lambda: by_error(view.connection)),
        "grouped": min(_GROUPED, stats.dead),
        "queues": sorted(each.name for each in stats.queues),
    }
    return Shown("dead.html", data)


async def by_error(connection: Connection) -> list[dict[str, Any]]:
    """The newest dead letters by error and task: the most frequent first."""
    found = await read_page(Place(opened=(connection,)), Filter(), _GROUPED, 0)
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for each in found:
        error, _, message = str(each.get("error", each.get("sealed", "?"))).partition(": ")
        key = (error, str(each.get("task", "?")))
        first = {"error": error, "task": key[1], "message": message, "number": 0, "newest": each["dead_at"]}
        group = groups.setdefault(key, {**first, "oldest": each["dead_at"]})
        group["number"] += 1
        group["oldest"] = min(group["oldest"], each["dead_at"])
    return sorted(groups.values(), key=lambda group: (-group["number"], -group["newest"]))


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
