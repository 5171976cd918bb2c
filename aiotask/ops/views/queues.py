"""The queues, and one of them: what waits in each, and what can be done to it."""

from __future__ import annotations

import asyncio
from typing import Any

from ...brokers.pauses import Pause
from ...inspector import JobFilter, QueueInfo
from ...job import Status
from ..describe import describe_job
from ..pauses import pauses_of
from ..series import pending_in, queue_rates
from .look import Look
from .minutes import minutes_of, range_in
from .overview import paused_in, used_queues

__all__ = ["queue", "queues"]

_SHOWN = 20


async def queues(look: Look) -> dict[str, Any]:
    stats, every, pauses, ranged = await asyncio.gather(
        look.stats(), _queues(look), _pauses(look), minutes_of(look, "1h")
    )
    return {
        "title": "Queues",
        "stats": stats,
        "sparks": pending_in(ranged),
        "rates": queue_rates(ranged, stats),
        "queues": sorted(used_queues(every), key=lambda each: each.name),
        "paused": paused_in(pauses),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
    }


async def queue(look: Look, name: str) -> dict[str, Any]:
    inspector = look.connection.inspector
    every, pauses, page, sample, ranged = await asyncio.gather(
        _queues(look),
        _pauses(look),
        inspector.page(JobFilter(Status.PENDING, name), "", _SHOWN),
        look.kept(f"sample {name}", 5.0, lambda: inspector.sample(name)),
        minutes_of(look, range_in(look)),
    )
    found = next((each for each in every if each.name == name), None)
    jobs = [describe_job(look.connection, info) for info in page.jobs]
    return {
        "title": f"Queue {name}",
        "name": name,
        "queue": found or QueueInfo(name),
        "is_known": found is not None,
        "pause": paused_in(pauses).get(name),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
        "others": sorted(each.name for each in every if each.name != name),
        "sample": sample,
        "tasks": list(sample.tasks.items())[:10],
        "jobs": jobs,
        "order": _order(found or QueueInfo(name)),
        "ranged": ranged,
    }


def _order(queue: QueueInfo) -> str:
    """In which order the jobs of a queue are shown."""
    if not queue.held:
        return "in the order in which they are claimed"
    if queue.held >= queue.pending:
        return "in lines of limits, shown in no order"
    return "in the order in which they are claimed, those in lines of limits behind them in no order"


async def _queues(look: Look) -> list[QueueInfo]:
    """The queues with their parked jobs and dead letters, which cost a look at some of them."""
    found: list[QueueInfo] = await look.kept("queues", 5.0, lambda: look.connection.inspector.queues(2.0))
    return found


async def _pauses(look: Look) -> list[Pause]:
    found: list[Pause] = await look.kept("pauses", 2.0, lambda: pauses_of(look.connection))
    return found
