"""The hosts of one or more apps, as their keepers report them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec.structs import asdict

from ..brokers import features
from ..brokers.metrics import MetricsInspector
from ..brokers.technology import METRICS
from ..inspector import WorkerInfo
from ..log.events import in_words
from ..values.report import HostReport, LostHost
from .connection import Connection, Place, inspectors

__all__ = ["SILENT", "drained", "hosts_of", "lost_hosts", "lost_words", "read_hosts", "read_lost", "skews"]

#: Seconds without a report after which a host is silent: its keeper reports every 5 s.
SILENT = 12.0
#: Seconds for which people are told that a host was lost.
_LOST = 3600.0
#: What should be the same on each host, and in words.
_SKEWS = {"aiotask": "releases of aiotask", "python": "releases of Python", "release": "releases of the app"}


async def read_hosts(place: Place) -> list[dict[str, Any]]:
    """Every host that has live workers, or has reported; hosts of an app one after the other.

    Of a host that has not reported, the live workers are known, and no more."""
    async with inspectors(place) as opened:
        return [host for each in opened for host in await hosts_of(each)]


async def hosts_of(connection: Connection) -> list[dict[str, Any]]:
    """Every host of one app that has live workers, or has reported."""
    reports: dict[str, HostReport] = {}
    # Reports are those of an app on its broker; rows have none.
    if connection.app is not None and METRICS in features(connection.app.url):
        reader = cast("MetricsInspector", connection.inspector)
        reports = {report.host: report for report in await reader.reports()}
    live: dict[str, list[WorkerInfo]] = {}
    for worker in await connection.inspector.workers():
        live.setdefault(worker.host, []).append(worker)
    return [
        {"app": connection.label, **_described(host, reports.get(host), live.get(host, []))}
        for host in sorted({*reports, *live})
    ]


async def lost_hosts(connection: Connection) -> list[LostHost]:
    """The hosts of one app that were lost within the last hour, the latest first."""
    if connection.app is None or METRICS not in features(connection.app.url):
        return []
    found = await cast("MetricsInspector", connection.inspector).lost()
    return [each for each in found if each.age <= _LOST]


async def read_lost(place: Place) -> list[LostHost]:
    """The hosts of the named app or of all apps that were lost within the last hour."""
    async with inspectors(place) as opened:
        return [host for each in opened for host in await lost_hosts(each)]


def lost_words(host: LostHost) -> tuple[str, str, str]:
    """That a host was lost, as the beginning of a sentence, the rest, and what to do."""
    jobs = f"{host.jobs:,} job{' was' if host.jobs == 1 else 's were'} requeued"
    name = f"{host.machine} ({host.host})" if host.machine else host.host
    fix = "Is the machine up, and has its supervisor started again? Its last words are in its log."
    return f"Host {name}", f"was lost {in_words(host.age)} ago ({jobs}).", fix


def _described(host: str, report: HostReport | None, live: Sequence[WorkerInfo]) -> dict[str, Any]:
    workers = [worker.incarnation for worker in live]
    if report is None:
        return {"host": host, "age": None, "live": workers}
    found = asdict(report) | {"live": workers}
    return found | {name: list(map(asdict, getattr(report, name))) for name in ("processes", "running")}


def drained(host: Mapping[str, Any]) -> str:
    """That a host takes no new jobs, since when and by whose wish, as the end of a sentence; empty: it takes them."""
    if not host.get("drained_at"):
        return ""
    since = in_words(max(0.0, time.time() - host["drained_at"]))
    return f"was drained by {host['drained_by'] or 'an unknown operator'} {since} ago: it takes no new jobs."


def skews(hosts: Sequence[dict[str, Any]]) -> list[str]:
    """What differs between the hosts of an app, as sentences."""
    found = []
    for app in dict.fromkeys(host["app"] for host in hosts):
        own = [host for host in hosts if host["app"] == app and host["age"] is not None]
        for field, what in _SKEWS.items():
            values = sorted({host[field] for host in own})
            if len(values) > 1:
                named = ", ".join(value or "(none)" for value in values)
                found.append(f"The hosts of {app} run different {what}: {named}.")
    return found
