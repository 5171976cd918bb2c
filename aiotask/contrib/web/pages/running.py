"""``/running``: what workers run now."""

from __future__ import annotations

from ....inspector import JobFilter
from ....job import Status
from ....ops.jobs import read_page
from ..view import View
from .shown import Shown

__all__ = ["running"]


async def running(view: View) -> Shown:
    wanted = JobFilter(Status.RUNNING, view.asked("queue") or None, view.asked("task") or None)
    jobs = await read_page(view.place, wanted, view.asked("after", 500), view.rows)
    stats = await view.stats()
    data = {
        "title": "Running",
        "jobs": jobs,
        "after": jobs[-1].get("after", "") if jobs else "",
        "wanted": wanted,
        "total": stats.running,
        "queues": sorted(each.name for each in stats.queues),
    }
    return Shown("running.html", data)
