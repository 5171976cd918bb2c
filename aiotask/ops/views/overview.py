"""The overview: what is wrong, six numbers, and the beginnings of the other views."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ...brokers.pauses import Pause
from ...inspector import JobFilter, Page, WorkerInfo
from ...job import Status
from ..attention import Attention, attention_of
from ..describe import describe_job
from ..hosts import SILENT, lost_hosts, read_hosts
from ..letters import by_error
from ..limits import by_hand
from ..pauses import pauses_of
from ..series import errors_in, pending_in, queue_rates, totals_of
from .look import Look
from .marks import numbers_of
from .minutes import minutes_of, range_in

__all__ = ["attention", "hosts_of", "names_in", "overview", "paused_in", "running_longest"]

#: Seconds for which lists on this page are kept: they are the same for all who look.
_KEPT = 2.0
_ROWS = 6
#: Seconds of which the numbers on top are told.
_LATELY = 300.0


async def overview(look: Look) -> dict[str, Any]:
    stats, workers, pauses, hosts, failures, ranged = await asyncio.gather(
        look.stats(),
        look.kept("workers", _KEPT, look.connection.inspector.workers),
        look.kept("pauses", _KEPT, lambda: pauses_of(look.connection)),
        hosts_of(look),
        look.kept("failures", _KEPT, lambda: by_error(look.connection)),
        minutes_of(look, range_in(look)),
    )
    errors = errors_in(ranged)
    running = running_longest(hosts)
    if not running and stats.running:
        # Nothing has been reported yet, or this broker keeps no reports.
        page = await look.kept("running", _KEPT, lambda: _running(look))
        running = [describe_job(look.connection, info) for info in page.jobs]
    now = totals_of(ranged, _LATELY)
    return {
        "title": "Overview",
        "stats": stats,
        "attention": await attention(look, workers, pauses, hosts, failures),
        "queues": sorted(stats.queues, key=lambda each: (not each.pending + each.running, each.name)),
        "paused": paused_in(pauses),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
        "sparks": pending_in(ranged),
        "rates": queue_rates(ranged, stats),
        "running": running[:_ROWS],
        "failures": (errors or failures)[:_ROWS],
        "hosts": hosts,
        "numbers": numbers_of(stats, now, hosts),
        "ranged": ranged,
    }


async def _running(look: Look) -> Page:
    return await look.connection.inspector.page(JobFilter(Status.RUNNING), "", _ROWS)


async def attention(
    look: Look,
    workers: Sequence[WorkerInfo],
    pauses: Sequence[Pause],
    hosts: Sequence[dict[str, Any]],
    failures: Sequence[dict[str, Any]],
) -> list[Attention]:
    inspector = look.connection.inspector
    facts, unrecorded, aside, lost, numbers = await asyncio.gather(
        look.kept("facts", 10.0, inspector.facts),
        look.kept("unrecorded", _KEPT, inspector.unrecorded),
        look.kept("rejected", _KEPT, inspector.rejected),
        look.kept("lost", _KEPT, lambda: lost_hosts(look.connection)),
        look.kept("by hand", 10.0, lambda: by_hand(look.connection)),
    )
    told = unrecorded, aside, hosts, failures, lost, numbers
    return attention_of(await look.stats(), workers, pauses, facts, *told)


async def hosts_of(look: Look) -> list[dict[str, Any]]:
    """The hosts of the app, each with what its workers hold together; those with the most late loop first."""
    found: list[dict[str, Any]] = await look.kept("hosts", _KEPT, lambda: read_hosts(look.place))
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
