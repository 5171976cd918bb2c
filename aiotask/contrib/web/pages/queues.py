"""``/queues`` and ``/queues/NAME``: what waits in each, and what can be done to it."""

from __future__ import annotations

import asyncio

from ....brokers.pauses import Pause
from ....inspector import JobFilter, QueueInfo
from ....job import Status
from ....ops.describe import describe_job
from ....ops.pauses import pauses_of
from ....ops.series import pending_in, queue_rates
from ..view import View
from .charted import charted
from .overview import paused_in
from .series import minutes_of, range_in
from .shown import Shown, named

__all__ = ["queue", "queues"]

_SHOWN = 20


async def queues(view: View) -> Shown:
    stats, pauses, ranged = await asyncio.gather(view.stats(), _pauses(view), minutes_of(view, "1h"))
    data = {
        "title": "Queues",
        "stats": stats,
        "sparks": pending_in(ranged),
        "rates": queue_rates(ranged, stats),
        "queues": sorted(stats.queues, key=lambda each: each.name),
        "paused": paused_in(pauses),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
    }
    return Shown("queues.html", data)


async def queue(view: View) -> Shown:
    name = named(view, "name")
    inspector = view.connection.inspector
    stats, pauses, page, sample, ranged = await asyncio.gather(
        view.stats(),
        _pauses(view),
        inspector.page(JobFilter(Status.PENDING, name), "", _SHOWN),
        view.kept(f"sample {name}", 5.0, lambda: inspector.sample(name)),
        minutes_of(view, range_in(view)),
    )
    found = next((each for each in stats.queues if each.name == name), None)
    jobs = [describe_job(view.connection, info) for info in page.jobs]
    data = {
        "title": f"Queue {name}",
        "name": name,
        "queue": found or QueueInfo(name),
        "is_known": found is not None,
        "pause": paused_in(pauses).get(name),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
        "others": sorted(each.name for each in stats.queues if each.name != name),
        "sample": sample,
        "tasks": list(sample.tasks.items())[:10],
        "jobs": jobs,
        **charted(ranged, view, queue=name),
    }
    return Shown("queue.html", data)


async def _pauses(view: View) -> list[Pause]:
    found: list[Pause] = await view.kept("pauses", 2.0, lambda: pauses_of(view.connection))
    return found
