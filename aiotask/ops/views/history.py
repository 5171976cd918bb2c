"""The history: the file of finished jobs."""

from __future__ import annotations

from typing import Any

from .finished import history_page, moment_in
from .look import Look

__all__ = ["history"]


async def history(look: Look) -> dict[str, Any]:
    page = await history_page(
        look,
        status=look.status(),
        task=look.asked("task") or None,
        queue=look.asked("queue") or None,
        since=moment_in(look.asked("since")),
        until=moment_in(look.asked("until")),
        text=look.asked("q"),
        after=look.asked("after", 500),
        limit=look.rows,
    )
    unrecorded = await look.kept("unrecorded", 2.0, look.connection.inspector.unrecorded)
    return {
        "title": "History",
        "page": page,
        "unrecorded": unrecorded,
        "queues": sorted(each.name for each in (await look.stats()).queues),
        **{name: look.asked(name) for name in ("task", "queue", "since", "until", "q")},
        "status": look.status(),
    }
