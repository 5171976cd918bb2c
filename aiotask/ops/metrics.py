"""Metrics in the text format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..inspector import ServerFacts, Stats
from ..keeper.keeper import AppMetrics
from ..values.metrics import EDGES, Counts, Slot
from ..values.report import EXITS, HostReport

__all__ = ["CONTENT_TYPE", "exposition", "stats_exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Those of the edges of a histogram that are shown: 1 ms to 5 minutes.
_SHOWN = (*(EDGES[n] for n in (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 21, 24, 27)), 300.0)
_OUTCOMES = {
    "succeeded": Slot.SUCCEEDED,
    "failed": Slot.FAILED,
    "retried": Slot.RETRIED,
    "cancelled": Slot.CANCELLED,
    "expired": Slot.EXPIRED,
    "timed_out": Slot.TIMED_OUT,
}
_Labels = Mapping[str, object]


_Sample = tuple[str, _Labels, float]
_Family = tuple[str, str, str, Iterable[_Sample]]


def exposition(apps: Sequence[AppMetrics], host: HostReport) -> str:
    """All metrics of a host, and what its apps have on their brokers."""
    return _text(_families(apps, host))


def stats_exposition(app: str, stats: Stats, facts: ServerFacts) -> str:
    """What one app has on its broker, for a reader that sees none of its hosts."""
    return _text(_of_stats([AppMetrics(app, {}, {}, stats=stats, facts=facts)]))


def _text(families: Iterable[_Family]) -> str:
    lines: list[str] = []
    for name, kind, help_, samples in families:
        found = list(samples)
        if found:
            lines += (f"# HELP {name} {help_}", f"# TYPE {name} {kind}")
            lines += [f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in found]
    return "\n".join([*lines, ""])


def _families(apps: Sequence[AppMetrics], host: HostReport) -> Iterator[_Family]:
    of_tasks = [({"app": each.app, "task": task}, counts) for each in apps for task, counts in each.tasks.items()]
    of_queues = [({"app": each.app, "queue": queue}, counts) for each in apps for queue, counts in each.queues.items()]
    outcomes = [
        ("", {**labels, "outcome": word}, float(counts.of(slot)))
        for labels, counts in of_tasks
        for word, slot in _OUTCOMES.items()
    ]
    cpu = [("", labels, counts.cpu) for labels, counts in of_tasks]
    have_run = [(labels, counts) for labels, counts in of_tasks if counts.slots]
    yield "aiotask_jobs_total", "counter", "Runs by how they ended.", outcomes
    yield "aiotask_job_run_seconds", "histogram", "How long runs took.", _histograms(have_run)
    yield (
        "aiotask_queue_wait_seconds",
        "histogram",
        "How long the oldest job of a claim waited.",
        _histograms(of_queues),
    )
    yield (
        "aiotask_job_cpu_seconds_total",
        "counter",
        "CPU of runs of 1 ms and more; of async tasks the time for which they kept the event loop.",
        cpu,
    )
    yield from _of_host(apps, host)
    yield from _of_stats([each for each in apps if each.stats is not None])


def _of_host(apps: Sequence[AppMetrics], host: HostReport) -> Iterator[_Family]:
    states = {"wanted": host.wanted, "serving": host.serving}
    yield "aiotask_workers", "gauge", "Worker processes.", [("", {"state": each}, n) for each, n in states.items()]
    drained = float(host.drained_at > 0)
    yield "aiotask_host_drained", "gauge", "1: this host takes no new jobs.", [("", {}, drained)]
    of_workers = [
        (f"worker-{names[0].rpartition('.')[2]}", each) for each in host.processes if (names := each.incarnations)
    ]
    for name, kind, help_, attribute in (
        ("running", "gauge", "Jobs that run.", "running"),
        ("loop_lag_seconds", "gauge", "How late the event loop was at most within 5 s.", "lag"),
        ("resident_bytes", "gauge", "Memory that the process holds.", "memory"),
        ("cpu_seconds_total", "counter", "CPU that the process has used.", "cpu"),
    ):
        yield (
            *(f"aiotask_worker_{name}", kind, help_),
            [("", {"worker": worker}, getattr(each, attribute)) for worker, each in of_workers],
        )
    exits = [("", {"reason": reason}, float(host.exits.get(reason, 0))) for reason in EXITS]
    yield "aiotask_worker_exits_total", "counter", "Worker processes that have ended.", exits
    build = {"version": host.aiotask, "python": host.python, "release": host.release}
    yield "aiotask_build_info", "gauge", "Releases of aiotask, Python and the app.", [("", build, 1.0)]
    for name, kind, help_, attribute in (
        ("lease_age_seconds", "gauge", "Seconds since the lease of this host was renewed.", "lease_age"),
        ("broker_seconds", "gauge", "How long the broker took for the last report.", "broker_seconds"),
        (
            "recovered_total",
            "counter",
            "Jobs that this keeper has given back after a death of a process or of another host.",
            "recovered",
        ),
        ("history_backlog", "gauge", "Finished jobs that wait for a recorder.", "backlog"),
    ):
        values = [(each.app, getattr(each, attribute)) for each in apps]
        yield (
            *(f"aiotask_{name}", kind, help_),
            [("", {"app": app}, float(value)) for app, value in values if value is not None],
        )


def _of_stats(apps: Sequence[AppMetrics]) -> Iterator[_Family]:
    queues = [
        ({"app": each.app, "queue": queue.name}, queue) for each in apps if each.stats for queue in each.stats.queues
    ]
    for name, help_, attribute in (
        ("pending", "Jobs that wait.", "pending"),
        ("running", "Jobs that are claimed.", "running"),
        ("oldest_seconds", "Seconds for which the oldest pending job has been in its lane.", "oldest"),
        ("paused", "1: no job of the queue starts.", "paused"),
        ("consumers", "Worker processes that claim from it.", "consumers"),
        ("held", "Those of the pending jobs that wait for a place in a limit.", "held"),
    ):
        samples = [("", labels, float(getattr(queue, attribute) or 0)) for labels, queue in queues]
        yield f"aiotask_queue_{name}", "gauge", f"{help_} The same from every host: use max.", samples
    for name, kind, help_, attribute in (
        ("scheduled", "gauge", "Jobs that are not due yet.", "scheduled"),
        ("parked", "gauge", "Jobs that wait for what no worker has.", "parked"),
        ("dead_letters", "gauge", "Jobs that were given up.", "dead"),
        ("rejected_total", "counter", "Messages that were no jobs of the app.", "rejected"),
        ("sent_total", "counter", "Jobs that were sent.", "sent"),
        ("hosts_lost_total", "counter", "Hosts that others have declared dead.", "lost"),
    ):
        values = [("", {"app": each.app}, float(getattr(each.stats, attribute))) for each in apps]
        yield f"aiotask_{name}", kind, f"{help_} The same from every host: use max.", values
    known = [({"app": each.app}, each.facts) for each in apps if each.facts is not None]
    used = [("", labels, float(facts.memory_used)) for labels, facts in known]
    yield "aiotask_server_used_bytes", "gauge", "Memory that the broker's server uses.", used
    limits = [("", labels, float(facts.memory_limit)) for labels, facts in known]
    yield "aiotask_server_limit_bytes", "gauge", "Memory that it may use (maxmemory); 0: it has no limit.", limits


def _histograms(every: Sequence[tuple[_Labels, Counts]]) -> Iterator[_Sample]:
    for labels, counts in every:
        buckets, below, total = counts.histogram, 0, 0
        for number, edge in enumerate(EDGES):
            below += buckets[number]
            if edge in _SHOWN:
                yield "_bucket", {**labels, "le": f"{edge:.6g}"}, below
        total = sum(buckets)
        yield "_bucket", {**labels, "le": "+Inf"}, total
        yield "_sum", labels, counts.time
        yield "_count", labels, total


def _labels(labels: _Labels) -> str:
    if not labels:
        return ""
    shown = (f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return f"{{{','.join(shown)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return f"{int(value)}" if float(value).is_integer() else f"{value!r}"
