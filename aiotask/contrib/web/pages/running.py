"""``/running``: what workers run now."""

from __future__ import annotations

import asyncio

from ....inspector import JobFilter
from ....job import Status
from ....ops.jobs import read_page
from ..view import View
from .overview import hosts_of, running_longest
from .shown import Shown

__all__ = ["running"]


async def running(view: View) -> Shown:
    wanted = JobFilter(Status.RUNNING, view.asked("queue") or None, view.asked("task") or None)
    jobs = await read_page(view.place, wanted, view.asked("after", 500), view.rows)
    stats, hosts = await asyncio.gather(view.stats(), hosts_of(view))
    known = {job["id"]: job for job in running_longest(hosts)}
    for job in jobs:
        job["runs"] = known.get(job["id"])
    following = jobs[-1].get("after", "") if jobs else ""
    jobs.sort(key=lambda job: -(job["runs"]["seconds"] if job["runs"] else 0.0))
    data = {
        "title": "Running",
        "jobs": jobs,
        "after": following,
        "wanted": wanted,
        "total": stats.running,
        "queues": sorted(each.name for each in stats.queues),
    }
    return Shown("running.html", data)
