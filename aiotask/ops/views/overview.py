"""The overview: what is wrong, six numbers, and the beginnings of the other views."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ...brokers.pauses import Pause
from ...inspector import JobFilter, Page, QueueInfo, WorkerInfo
from ...job import Status
from ..attention import Attention, attention_of
from ..describe import describe_job
from ..hosts import SILENT, lost_hosts, read_hosts
from ..letters import by_error
from ..limits import by_hand
from ..pauses import pauses_of
from ..schedules import paused_in as schedules_paused_in
from ..series import errors_in, pending_in, queue_rates, totals_of
from .look import Look
from .marks import numbers_of
from .minutes import minutes_of, range_in

__all__ = ["attention", "hosts_of", "names_in", "overview", "paused_in", "running_longest", "used_queues"]

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
        "queues": sorted(used_queues(stats.queues), key=lambda each: (not each.pending + each.running, each.name)),
        "paused": paused_in(pauses),
        "all_paused": next((pause for pause in pauses if not pause.queue and not pause.task), None),
        "sparks": pending_in(ranged),
        "rates": queue_rates(ranged, stats),
        "running": running[:_ROWS],
        "failures": _with_letters(errors, failures)[:_ROWS] if errors else failures[:_ROWS],
        "hosts": hosts,
        "numbers": numbers_of(stats, now, hosts),
        "ranged": ranged,
    }


def _with_letters(errors: Sequence[dict[str, Any]], letters: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors that were counted, and whether there are dead letters of each: tasks without retries leave none."""
    # Letters name the module of a class, too.
    known = {(each["error"].rpartition(".")[2], each["task"]) for each in letters}
    return [{**each, "letters": (each["error"], each["task"]) in known} for each in errors]


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
    facts, unrecorded, aside, schedules, lost, numbers = await asyncio.gather(
        look.kept("facts", 10.0, inspector.facts),
        look.kept("unrecorded", _KEPT, inspector.unrecorded),
        look.kept("rejected", _KEPT, inspector.rejected),
        look.kept("paused schedules", _KEPT, lambda: schedules_paused_in(look.connection)),
        look.kept("lost", _KEPT, lambda: lost_hosts(look.connection)),
        look.kept("by hand", 10.0, lambda: by_hand(look.connection)),
    )
    told = unrecorded, aside, hosts, failures, schedules, lost, numbers
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


def used_queues(queues: Sequence[QueueInfo]) -> list[QueueInfo]:
    """The queues without those that hold nothing and that no worker consumes, while others are consumed: their names
    were mistyped once, or are no longer used."""
    is_served = any(each.consumers for each in queues)
    return [
        each
        for each in queues
        if not is_served
        or each.consumers
        or each.paused
        or each.pending + each.running + each.scheduled + each.parked + each.dead
    ]


def paused_in(pauses: Sequence[Pause]) -> dict[str, Pause]:
    """The pauses of queues, by the queue."""
    return {pause.queue: pause for pause in pauses if pause.queue}


def names_in(value: Any) -> list[str]:
    """The names in a fact that a worker has registered."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
