"""``/history``: the file of finished jobs."""

from __future__ import annotations

from ..view import View
from .finished import history_page, moment_in
from .shown import Shown

__all__ = ["history"]


async def history(view: View) -> Shown:
    page = await history_page(
        view,
        status=view.status(),
        task=view.asked("task") or None,
        queue=view.asked("queue") or None,
        since=moment_in(view.asked("since")),
        until=moment_in(view.asked("until")),
        text=view.asked("q"),
        after=view.asked("after", 500),
        limit=view.rows,
    )
    unrecorded = await view.kept("unrecorded", 2.0, view.connection.inspector.unrecorded)
    data = {
        "title": "History",
        "page": page,
        "unrecorded": unrecorded,
        "queues": sorted(each.name for each in (await view.stats()).queues),
        **{name: view.asked(name) for name in ("task", "queue", "since", "until", "q")},
        "status": view.status(),
    }
    return Shown("history.html", data)
