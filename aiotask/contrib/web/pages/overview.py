"""``/``: what is wrong, six numbers, and the beginnings of the other pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ....brokers.pauses import Pause
from ....inspector import JobFilter, WorkerInfo
from ....job import Status
from ....ops.attention import Attention, attention_of
from ....ops.describe import describe_job
from ....ops.pauses import pauses_of
from ..view import View
from .dead import by_error
from .shown import Shown

__all__ = ["attention", "hosts_of", "names_in", "overview", "paused_in"]

#: Seconds for which lists on this page are kept: they are the same for all who look.
_KEPT = 2.0
_ROWS = 6


async def overview(view: View) -> Shown:
    inspector = view.connection.inspector
    stats, workers, pauses, running, failures = await asyncio.gather(
        view.stats(),
        view.kept("workers", _KEPT, inspector.workers),
        view.kept("pauses", _KEPT, lambda: pauses_of(view.connection)),
        view.kept("running", _KEPT, lambda: inspector.page(JobFilter(Status.RUNNING), "", _ROWS)),
        view.kept("failures", _KEPT, lambda: by_error(view.connection)),
    )
    return Shown(
        "overview.html",
        {
            "title": "Overview",
            "stats": stats,
            "attention": await attention(view, workers, pauses),
            "queues": sorted(stats.queues, key=lambda each: (not each.pending + each.running, each.name)),
            "paused": paused_in(pauses),
            "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
            "running": [describe_job(view.connection, info) for info in running.jobs],
            "failures": failures[:_ROWS],
            "hosts": hosts_of(workers),
            "ended": sum(stats.ended.values()),
        },
    )


async def attention(view: View, workers: Sequence[WorkerInfo], pauses: Sequence[Pause]) -> list[Attention]:
    inspector = view.connection.inspector
    facts, unrecorded, aside = await asyncio.gather(
        view.kept("facts", 10.0, inspector.facts),
        view.kept("unrecorded", _KEPT, inspector.unrecorded),
        view.kept("rejected", _KEPT, inspector.rejected),
    )
    return attention_of(await view.stats(), workers, pauses, facts, unrecorded, aside)


def paused_in(pauses: Sequence[Pause]) -> dict[str, Pause]:
    """The pauses of queues, by the queue."""
    return {pause.queue: pause for pause in pauses if pause.queue}


def hosts_of(workers: Sequence[WorkerInfo]) -> list[dict[str, Any]]:
    """The hosts of live workers."""
    found: dict[str, dict[str, Any]] = {}
    for worker in workers:
        facts = worker.facts
        host = found.setdefault(
            worker.host,
            {
                "id": worker.host,
                "name": str(facts.get("host", worker.host)),
                "workers": 0,
                "python": str(facts.get("python", "")),
                "release": str(facts.get("release", "")),
                "since": facts.get("since"),
                "tasks": len(names_in(facts.get("tasks"))),
                "queues": names_in(facts.get("queues")),
                "order": str(facts.get("order") or ""),
            },
        )
        host["workers"] += 1
        since = facts.get("since")
        if isinstance(since, int | float) and isinstance(host["since"], int | float):
            host["since"] = min(host["since"], since)
    return sorted(found.values(), key=lambda host: (host["name"], host["id"]))


def names_in(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
