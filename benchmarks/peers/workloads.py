"""The workloads in the order in which they run, and the figures that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import rates, recovery, resources
from .catalog import Peer
from .trial import Trial

__all__ = ["FIGURES", "WORKLOADS", "Heading", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of run."""

    name: str
    run: Callable[[Trial], dict[str, float]]
    #: Peers without this kind of task are left out.
    kind: str | None = None
    #: Runs at most so often; memory and imports hardly vary, recovery is mostly waiting.
    most: int = 100

    def fits(self, peer: Peer) -> bool:
        return self.kind is None or self.kind in peer.kinds


WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload("send", rates.send),
        Workload("drain-async-1", partial(rates.drain, kind="async", processes=1), kind="async"),
        Workload("drain-sync-1", partial(rates.drain, kind="sync", processes=1), kind="sync"),
        Workload("drain-async-2", partial(rates.drain, kind="async", processes=2), kind="async"),
        Workload("drain-sync-2", partial(rates.drain, kind="sync", processes=2), kind="sync"),
        Workload("trips", rates.trips),
        Workload("idle", rates.idle),
        Workload("cpu", resources.cpu),
        Workload("memory", resources.memory, most=1),
        Workload("import", resources.importing, most=1),
        Workload("kill-one", partial(recovery.recover, which="one"), most=2),
        Workload("kill-all", partial(recovery.recover, which="all"), most=2),
    )
}


@dataclass(frozen=True, slots=True)
class Heading:
    """A figure as a column of a table."""

    name: str
    workload: str
    title: str
    unit: str
    #: More is better; None for what is told, not compared.
    more: bool | None


FIGURES: dict[str, Heading] = {
    each.name: each
    for each in (
        Heading("send", "send", "send", "jobs/s", True),
        Heading("drain_async_1", "drain-async-1", "drain async, 1 process", "jobs/s", True),
        Heading("drain_sync_1", "drain-sync-1", "drain sync, 1 process", "jobs/s", True),
        Heading("drain_async_2", "drain-async-2", "drain async, 2 processes", "jobs/s", True),
        Heading("drain_sync_2", "drain-sync-2", "drain sync, 2 processes", "jobs/s", True),
        Heading("trips", "trips", "round trips, 100 in flight", "calls/s", True),
        Heading("trips_p50", "trips", "round trips, p50", "ms", False),
        Heading("trips_p99", "trips", "round trips, p99", "ms", False),
        Heading("idle_p50", "idle", "idle round trip, p50", "ms", False),
        Heading("idle_p99", "idle", "idle round trip, p99", "ms", False),
        Heading("cpu_bare", "cpu", "CPU-bound: wall / bare processes", "x", False),
        Heading("cpu_ideal", "cpu", "CPU-bound: wall / half of the CPU time", "x", False),
        Heading("cpu_job", "cpu", "CPU time of one job", "ms", None),
        Heading("memory", "memory", "two idle workers", "MB", False),
        Heading("import", "import", "client import", "ms", False),
        *(
            Heading(f"{which}_{name}", f"kill-{which}", f"kill {whom}: {title}", unit, more)
            for which, whom in (("one", "a worker"), ("all", "everything"))
            for name, title, unit, more in (
                ("p50", "interrupted jobs run again, p50", "s", False),
                ("max", "the last interrupted job runs again", "s", False),
                ("done", "all jobs done", "s", False),
                ("lost", "not done in time", "jobs", False),
                ("twice", "done twice", "jobs", False),
                ("interrupted", "were running", "jobs", None),
            )
        ),
    )
}
