"""The tasks, and one of them: those of live workers, and what is paused of them."""

from __future__ import annotations

import asyncio
from typing import Any

from ...inspector import JobFilter
from ...log.events import in_words
from ...values.metrics import EDGES
from ..jobs import search
from ..pauses import KnownTask, known_tasks
from ..series import around_deploy, task_totals
from .finished import history_page
from .look import Look
from .minutes import minutes_of, range_in
from .words import duration, per, rate

__all__ = ["task", "tasks"]

#: Jobs that are listed.
_SHOWN = 20
#: Seconds, and jobs on the server, after which the search for them ends.
_SECONDS, _MOST = 0.05, 5_000


async def tasks(look: Look) -> dict[str, Any]:
    text = look.asked("q").casefold()
    known = [each for each in await known_tasks(look.place) if text in each.task.casefold()]
    limit = look.rows
    start = look.start
    ranged = await minutes_of(look, range_in(look))
    return {
        "title": "Tasks",
        "totals": task_totals(ranged),
        "ranged": ranged,
        "tasks": known[start : start + limit],
        "total": len(known),
        "after": str(start + limit) if len(known) > start + limit else "",
        "text": look.asked("q"),
    }


async def task(look: Look, name: str) -> dict[str, Any]:
    known = next((each for each in await known_tasks(look.place) if each.task == name), None)
    found, ended, ranged = await asyncio.gather(
        search(look.place, JobFilter(task=name), "", _SHOWN, newest=True, seconds=_SECONDS, most=_MOST),
        history_page(look, task=name, limit=_SHOWN),
        minutes_of(look, range_in(look)),
    )
    times = task_totals(ranged).get(name)
    return {
        "title": f"Task {name}",
        "name": name,
        "task": known or KnownTask(look.connection.label, name, 0, []),
        "is_known": known is not None,
        "jobs": found.jobs,
        "is_cut": bool(found.after) and len(found.jobs) < _SHOWN,
        "ended": ended.jobs,
        "note": ended.note,
        "times": times,
        "histogram": _histogram(times),
        "deploy": _deploy(around_deploy(ranged, name)),
        "ranged": ranged,
    }


def _deploy(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The last deploy of the range, with a row of words for the time before it and one for the time since then: rate,
    share that failed, and percentiles of the run time; empty where nothing was counted."""
    if found is None:
        return None
    rows = [(word, _around(found[key])) for word, key in (("before", "before"), ("since then", "since"))]
    return {"at": found["at"], "release": found["release"], "rows": rows}


def _around(times: dict[str, Any] | None) -> list[str]:
    if times is None:
        return []
    runs = ("—" if times[name] is None else duration(times[name]) for name in ("p50", "p95", "p99"))
    return [per(times["rate"]), f"{rate(100 * times['failed'])} %", *runs]


def _histogram(times: dict[str, Any] | None) -> list[tuple[str, int, float]]:
    """The run times in buckets: up to which time, how many, and their share of the largest bucket."""
    if times is None or not any(times["histogram"]):
        return []
    most = max(times["histogram"])
    edges = [f"≤ {in_words(edge)}" for edge in EDGES] + [f"> {in_words(EDGES[-1])}"]
    known = [number for number, count in enumerate(times["histogram"]) if count]
    shown = range(known[0], known[-1] + 1)
    return [(edges[number], times["histogram"][number], times["histogram"][number] / most) for number in shown]
