"""What was counted over time, as charts show it: a point for each minute, or each ten."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from ..brokers import features
from ..brokers.metrics import MINUTE, TEN, MetricsInspector, Minute
from ..brokers.technology import METRICS
from ..inspector import Stats
from ..values.metrics import Counts, Slot
from .connection import Connection

__all__ = [
    "RANGES",
    "Ranged",
    "Series",
    "around_deploy",
    "errors_in",
    "marks_in",
    "pending_in",
    "queue_rates",
    "read_minutes",
    "series_of",
    "task_totals",
    "totals_of",
]

#: Seconds of each range, and of its points.
RANGES = {"5m": (300, MINUTE), "1h": (3600, MINUTE), "8h": (8 * 3600, MINUTE), "72h": (72 * 3600, TEN)}
#: Seconds of the minute that it is now, from which on it is long enough for a rate.
_LEAST = 5.0


class Ranged(NamedTuple):
    """The minutes of a range: one of each step, the oldest first; those in which nothing was counted are empty."""

    step: int
    minutes: Sequence[Minute]


async def read_minutes(connection: Connection, name: str) -> Ranged:
    """The minutes of a range by its name; of a broker that keeps none, none.

    Raises:
        KeyError: there is no such range.
    """
    seconds, step = RANGES[name]
    if connection.app is None or METRICS not in features(connection.broker.url):
        return Ranged(step, [])
    reader = cast("MetricsInspector", connection.inspector)
    found = {minute.at: minute for minute in await reader.minutes(time.time() - seconds, None, step)}
    if not found:
        return Ranged(step, [])
    # The clock of the broker: its last minute may be another than that of this machine.
    last = max(max(found), math.floor(time.time() / step) * step if len(found) else 0.0)
    wanted = [last - step * number for number in range(seconds // step - 1, -1, -1)]
    return Ranged(step, [found.get(at, Minute(at, float(step))) for at in wanted])


class Series(NamedTuple):
    """Numbers by the minute. ``at``: Unix seconds of its beginning; rates are per second; None: nothing was counted."""

    step: int
    #: When releases of the app were first heard of, and these.
    marks: list[tuple[float, str]]
    at: list[float]
    succeeded: list[float]
    failed: list[float]
    retried: list[float]
    run_p50: list[float | None]
    run_p95: list[float | None]
    wait_p50: list[float | None]
    wait_p95: list[float | None]
    pending: list[int | None]

    def described(self) -> dict[str, Any]:
        return self._asdict()


def series_of(ranged: Ranged, task: str = "", queue: str = "") -> Series:
    """The series of everything, of one task, or of one queue (whose waits and jobs alone are counted by queue)."""
    now = time.time()
    made = Series(ranged.step, marks_in(ranged), *([] for _ in range(9)))
    for minute in ranged.minutes:
        runs = _counts(minute.tasks, task)
        waits = _counts(minute.queues, queue)
        seconds = min(minute.seconds, max(now - minute.at, _LEAST))
        made.at.append(minute.at)
        for where, slot in (
            (made.succeeded, Slot.SUCCEEDED),
            (made.failed, Slot.FAILED),
            (made.retried, Slot.RETRIED),
        ):
            where.append(round(runs.of(slot) / seconds, 4))
        for counts, middle, high in ((runs, made.run_p50, made.run_p95), (waits, made.wait_p50, made.wait_p95)):
            middle.append(counts.percentile(0.5))
            high.append(counts.percentile(0.95))
        made.pending.append(_pending(minute, queue))
    return made


def marks_in(ranged: Ranged) -> list[tuple[float, str]]:
    """Deploys in a range: the beginning of the minute in which a host first had a release (``AIOTASK_RELEASE``) that no
    host had in the ten minutes before it; and a rollback: that of the minute in which most reports came again from
    another release than the last deploy's. A host that restarts with its release is none."""
    found: list[tuple[float, str]] = []
    #: When each release was last heard of, which most had, and which was deployed last.
    heard: dict[str, float] = {}
    leading = current = ""
    for minute in ranged.minutes:
        if not minute.releases:
            continue
        new = (
            [each for each in sorted(minute.releases) if minute.at - heard.get(each, -math.inf) > TEN] if heard else []
        )
        most = max(minute.releases.values())
        if minute.releases.get(leading, 0) < most:
            leading, before = min(each for each, number in minute.releases.items() if number == most), leading
            if before and leading != current and leading not in new:
                new.append(leading)
        current = new[-1] if new else current or leading
        found += [(minute.at, release) for release in new]
        heard |= dict.fromkeys(minute.releases, minute.at)
    return found


def around_deploy(ranged: Ranged, task: str) -> dict[str, Any] | None:
    """The numbers of a task before the last deploy of a range, from the deploy before it on, and since then; None:
    there was no deploy."""
    marks = marks_in(ranged)
    if not marks:
        return None
    at, release = marks[-1]
    earlier = max((each for each, _ in marks if each < at), default=0.0)
    before = Ranged(ranged.step, [minute for minute in ranged.minutes if earlier <= minute.at < at])
    since = Ranged(ranged.step, [minute for minute in ranged.minutes if minute.at >= at])
    both = [task_totals(part).get(task) for part in (before, since)]
    return {"at": at, "release": release, "before": both[0], "since": both[1]}


def _counts(table: dict[str, Counts], name: str) -> Counts:
    return table.get(name, Counts()) if name else Counts.sum(table.values())


def _pending(minute: Minute, queue: str) -> int | None:
    if minute.stats is None:
        return None
    if not queue:
        return minute.stats.pending
    return next((each.pending for each in minute.stats.queues if each.name == queue), 0)


def pending_in(ranged: Ranged) -> dict[str, list[int]]:
    """The pending jobs of each queue, minute by minute; minutes that were not counted are left out."""
    found: dict[str, list[int]] = {}
    counted = [minute.stats for minute in ranged.minutes if minute.stats is not None]
    for number, stats in enumerate(counted):
        for queue in stats.queues:
            found.setdefault(queue.name, [0] * number).append(queue.pending)
        for each in found.values():
            each += [0] * (number + 1 - len(each))
    return found


def totals_of(ranged: Ranged, last: float) -> dict[str, Any]:
    """The numbers of the last seconds of a range: rates per second, shares, and percentiles (seconds)."""
    now = time.time()
    minutes = [minute for minute in ranged.minutes if minute.at + minute.seconds > now - last]
    if not minutes:
        return {}
    runs = Counts.sum(counts for minute in minutes for counts in minute.tasks.values())
    waits = Counts.sum(counts for minute in minutes for counts in minute.queues.values())
    seconds = _seconds(minutes, now)
    return {
        "ended": runs.ended / seconds,
        "failed": runs.of(Slot.FAILED) / runs.ended if runs.ended else 0.0,
        "retried": runs.of(Slot.RETRIED) / seconds,
        "run_p50": runs.percentile(0.5),
        "run_p95": runs.percentile(0.95),
        "wait_p50": waits.percentile(0.5),
        "wait_p95": waits.percentile(0.95),
    }


def _seconds(minutes: Sequence[Minute], now: float) -> float:
    """The seconds since the first of the minutes that were looked at, also where nothing ran in it."""
    first = next((minute.at for minute in minutes if minute.stats is not None or minute.tasks or minute.queues), now)
    return max(now - first, _LEAST)


def task_totals(ranged: Ranged) -> dict[str, dict[str, Any]]:
    """The numbers of each task in a range."""
    names = {name for minute in ranged.minutes for name in minute.tasks}
    whole = sum(counts.cpu for minute in ranged.minutes for counts in minute.tasks.values())
    seconds = _seconds(ranged.minutes, time.time())
    found = {}
    for name in names:
        counts = Counts.sum(minute.tasks[name] for minute in ranged.minutes if name in minute.tasks)
        found[name] = {
            "rate": counts.ended / seconds,
            "failed": counts.of(Slot.FAILED) / counts.ended if counts.ended else 0.0,
            "retried": counts.of(Slot.RETRIED),
            "timed_out": counts.of(Slot.TIMED_OUT),
            "ended": counts.ended,
            "p50": counts.percentile(0.5),
            "p95": counts.percentile(0.95),
            "p99": counts.percentile(0.99),
            "cpu": counts.cpu / whole if whole else 0.0,
            "histogram": counts.histogram,
        }
    return found


def errors_in(ranged: Ranged) -> list[dict[str, Any]]:
    """The errors of a range by task and shape, the most frequent first, with their number in each minute."""
    totals: Counter[str] = Counter()
    for minute in ranged.minutes:
        totals.update(minute.errors)
    found = []
    for key, number in totals.most_common():
        task, _, shape = key.partition("\t")
        kind, _, message = shape.partition(": ")
        by_minute = [minute.errors.get(key, 0) for minute in ranged.minutes]
        latest = max((minute.at for minute in ranged.minutes if key in minute.errors), default=0.0)
        found.append(
            {"task": task, "error": kind, "message": message, "number": number, "line": by_minute, "latest": latest}
        )
    return found


def queue_rates(ranged: Ranged, now: Stats, last: float = 300.0) -> dict[str, tuple[float, float | None]]:
    """Of each queue how many jobs ended per second lately, and the seconds after which it will be empty at this rate;
    None: it will not."""
    then = next(
        (each.stats for each in ranged.minutes if each.stats is not None and each.stats.time > now.time - last), None
    )
    if then is None or now.time - then.time < _LEAST:
        return {}
    seconds = now.time - then.time
    before = {queue.name: queue for queue in then.queues}
    found = {}
    for queue in now.queues:
        old = before.get(queue.name)
        ended = sum(queue.ended.values()) - (sum(old.ended.values()) if old is not None else 0)
        drained = ((old.pending if old is not None else 0) - queue.pending) / seconds
        found[queue.name] = (
            max(ended, 0) / seconds,
            queue.pending / drained if drained > 0 and queue.pending else None,
        )
    return found
