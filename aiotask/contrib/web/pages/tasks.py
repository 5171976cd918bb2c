"""``/tasks`` and ``/tasks/NAME``: the tasks of live workers, and what is paused of them."""

from __future__ import annotations

import asyncio
from typing import Any

from ....inspector import JobFilter
from ....log.events import in_words
from ....ops.jobs import search
from ....ops.pauses import KnownTask, known_tasks
from ....ops.series import around_deploy, task_totals
from ....values.metrics import EDGES
from ..view import View
from .charted import charted
from .finished import history_page
from .series import minutes_of, range_in
from .shown import Shown, named

__all__ = ["task", "tasks"]

#: Jobs that are listed.
_SHOWN = 20
#: Seconds, and jobs on the server, after which the search for them ends.
_SECONDS, _MOST = 0.05, 5_000


async def tasks(view: View) -> Shown:
    text = view.asked("q").casefold()
    known = [each for each in await known_tasks(view.place) if text in each.task.casefold()]
    limit = view.rows
    start = view.number("after", 0, 1_000_000) if view.asked("after") else 0
    ranged = await minutes_of(view, range_in(view))
    data = {
        "title": "Tasks",
        "totals": task_totals(ranged),
        **charted(ranged, view),
        "tasks": known[start : start + limit],
        "total": len(known),
        "after": str(start + limit) if len(known) > start + limit else "",
        "text": view.asked("q"),
    }
    return Shown("tasks.html", data)


async def task(view: View) -> Shown:
    name = named(view, "name")
    known = next((each for each in await known_tasks(view.place) if each.task == name), None)
    found, ended, ranged = await asyncio.gather(
        search(view.place, JobFilter(task=name), "", _SHOWN, seconds=_SECONDS, most=_MOST),
        history_page(view, task=name, limit=_SHOWN),
        minutes_of(view, range_in(view)),
    )
    times = task_totals(ranged).get(name)
    data = {
        "title": f"Task {name}",
        "name": name,
        "task": known or KnownTask(view.connection.label, name, 0, []),
        "is_known": known is not None,
        "jobs": found.jobs,
        "is_cut": bool(found.after) and len(found.jobs) < _SHOWN,
        "ended": ended.jobs,
        "note": ended.note,
        "times": times,
        "histogram": _histogram(times),
        "deploy": around_deploy(ranged, name),
        **charted(ranged, view, task=name),
    }
    return Shown("task.html", data)


def _histogram(times: dict[str, Any] | None) -> list[tuple[str, int, float]]:
    """The run times in buckets: up to which time, how many, and their share of the largest bucket."""
    if times is None or not any(times["histogram"]):
        return []
    most = max(times["histogram"])
    edges = [f"≤ {in_words(edge)}" for edge in EDGES] + [f"> {in_words(EDGES[-1])}"]
    known = [number for number, count in enumerate(times["histogram"]) if count]
    shown = range(known[0], known[-1] + 1)
    return [(edges[number], times["histogram"][number], times["histogram"][number] / most) for number in shown]
