"""``/``: what is wrong, six numbers, and the beginnings of the other pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ....brokers.pauses import Pause
from ....inspector import JobFilter, Page, WorkerInfo
from ....job import Status
from ....ops.attention import Attention, attention_of
from ....ops.describe import describe_job
from ....ops.hosts import SILENT, read_hosts
from ....ops.pauses import pauses_of
from ....ops.series import errors_in, pending_in, queue_rates, totals_of
from ..view import View
from .charted import charted
from .dead import by_error
from .series import minutes_of, range_in
from .shown import Shown

__all__ = ["attention", "hosts_of", "names_in", "overview", "paused_in", "running_longest"]

#: Seconds for which lists on this page are kept: they are the same for all who look.
_KEPT = 2.0
_ROWS = 6
#: Seconds of which the numbers on top are told.
_LATELY = 300.0


async def overview(view: View) -> Shown:
    stats, workers, pauses, hosts, failures, ranged = await asyncio.gather(
        view.stats(),
        view.kept("workers", _KEPT, view.connection.inspector.workers),
        view.kept("pauses", _KEPT, lambda: pauses_of(view.connection)),
        hosts_of(view),
        view.kept("failures", _KEPT, lambda: by_error(view.connection)),
        minutes_of(view, range_in(view)),
    )
    errors = errors_in(ranged)
    running = running_longest(hosts)
    if not running and stats.running:
        # Nothing has been reported yet, or this broker keeps no reports.
        page = await view.kept("running", _KEPT, lambda: _running(view))
        running = [describe_job(view.connection, info) for info in page.jobs]
    return Shown(
        "overview.html",
        {
            "title": "Overview",
            "stats": stats,
            "attention": await attention(view, workers, pauses, hosts),
            "queues": sorted(stats.queues, key=lambda each: (not each.pending + each.running, each.name)),
            "paused": paused_in(pauses),
            "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
            "sparks": pending_in(ranged),
            "rates": queue_rates(ranged, stats),
            "running": running[:_ROWS],
            "failures": (errors or failures)[:_ROWS],
            "hosts": hosts,
            "ended": sum(stats.ended.values()),
            "now": totals_of(ranged, _LATELY),
            **charted(ranged, view),
        },
    )


async def _running(view: View) -> Page:
    return await view.connection.inspector.page(JobFilter(Status.RUNNING), "", _ROWS)


async def attention(
    view: View, workers: Sequence[WorkerInfo], pauses: Sequence[Pause], hosts: Sequence[dict[str, Any]]
) -> list[Attention]:
    inspector = view.connection.inspector
    facts, unrecorded, aside = await asyncio.gather(
        view.kept("facts", 10.0, inspector.facts),
        view.kept("unrecorded", _KEPT, inspector.unrecorded),
        view.kept("rejected", _KEPT, inspector.rejected),
    )
    return attention_of(await view.stats(), workers, pauses, facts, unrecorded, aside, hosts)


async def hosts_of(view: View) -> list[dict[str, Any]]:
    """The hosts of the app, each with what its workers hold together; those with the most late loop first."""
    found: list[dict[str, Any]] = await view.kept("hosts", _KEPT, lambda: read_hosts(view.place))
    return [with_totals(host) for host in found]


def with_totals(host: dict[str, Any]) -> dict[str, Any]:
    processes = host.get("processes", ())
    return {
        **host,
        "is_silent": host["age"] is not None and host["age"] > SILENT,
        "memory": sum(each["memory"] for each in processes),
        "late": max(
            (max(each["lag"], each["still"] if each["still"] > 1 else 0.0) for each in processes), default=None
        ),
        "busy": sum(each.get("busy", 0.0) for each in processes),
        "in_flight": sum(each["running"] for each in processes),
        "started": sum(each["started"] for each in processes),
    }


def running_longest(hosts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs that have run longest on all hosts, each with the worker that runs it."""
    found = []
    for host in hosts:
        names = {each["pid"]: each["incarnations"] for each in host.get("processes", ())}
        for job in host.get("running", ()):
            incarnations = names.get(job["pid"]) or [host["host"]]
            found.append({**job, "worker": incarnations[-1], "age": host["age"]})
    return sorted(found, key=lambda job: -job["seconds"])


def paused_in(pauses: Sequence[Pause]) -> dict[str, Pause]:
    """The pauses of queues, by the queue."""
    return {pause.queue: pause for pause in pauses if pause.queue}


def names_in(value: Any) -> list[str]:
    """The names in a fact that a worker has registered."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
