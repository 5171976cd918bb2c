"""What workers run now."""

from __future__ import annotations

import asyncio
from typing import Any

from ...inspector import JobFilter
from ...job import Status
from ..jobs import read_page
from .look import Look
from .overview import hosts_of, running_longest

__all__ = ["running"]


async def running(look: Look) -> dict[str, Any]:
    wanted = JobFilter(Status.RUNNING, look.asked("queue") or None, look.asked("task") or None)
    jobs = await read_page(look.place, wanted, look.asked("after", 500), look.rows)
    stats, hosts = await asyncio.gather(look.stats(), hosts_of(look))
    known = {job["id"]: job for job in running_longest(hosts)}
    for job in jobs:
        job["runs"] = known.get(job["id"])
    following = jobs[-1].get("after", "") if jobs else ""
    jobs.sort(key=lambda job: -(job["runs"]["seconds"] if job["runs"] else 0.0))
    return {
        "title": "Running",
        "jobs": jobs,
        "after": following,
        "wanted": wanted,
        "total": stats.running,
        "queues": sorted(each.name for each in stats.queues),
    }
