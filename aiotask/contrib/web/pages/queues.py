"""``/queues`` and ``/queues/NAME``: what waits in each, and what can be done to it."""

from __future__ import annotations

import asyncio
from collections import Counter

from ....inspector import JobFilter, QueueInfo
from ....job import Status
from ....ops.describe import describe_job
from ....ops.pauses import pauses_of
from ..view import View
from .overview import paused_in
from .shown import Shown, named

__all__ = ["queue", "queues"]

#: Pending jobs that are looked at to say what is in a queue.
_SAMPLE = 200
_SHOWN = 20


async def queues(view: View) -> Shown:
    stats, pauses = await asyncio.gather(view.stats(), pauses_of(view.connection))
    data = {
        "title": "Queues",
        "stats": stats,
        "queues": sorted(stats.queues, key=lambda each: each.name),
        "paused": paused_in(pauses),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
    }
    return Shown("queues.html", data)


async def queue(view: View) -> Shown:
    name = named(view, "name")
    inspector = view.connection.inspector
    stats, pauses, page = await asyncio.gather(
        view.stats(),
        pauses_of(view.connection),
        view.kept(f"sample {name}", 2.0, lambda: inspector.page(JobFilter(Status.PENDING, name), "", _SAMPLE)),
    )
    found = next((each for each in stats.queues if each.name == name), None)
    jobs = [describe_job(view.connection, info) for info in page.jobs]
    tasks = Counter(str(job.get("task", "?")) for job in jobs)
    data = {
        "title": f"Queue {name}",
        "name": name,
        "queue": found or QueueInfo(name),
        "is_known": found is not None,
        "pause": paused_in(pauses).get(name),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
        "sample": len(jobs),
        "tasks": tasks.most_common(10),
        "jobs": jobs[:_SHOWN],
    }
    return Shown("queue.html", data)
