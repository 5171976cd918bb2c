"""``/tasks`` and ``/tasks/NAME``: the tasks of live workers, and what is paused of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ....inspector import JobFilter
from ....ops.jobs import read_page
from ....ops.pauses import KnownTask, known_tasks
from ..view import View
from .finished import history_page
from .shown import Shown, named

__all__ = ["task", "tasks"]

#: Finished jobs of a task from which its times are told, and jobs that are listed.
_RECENT, _SHOWN = 200, 20


async def tasks(view: View) -> Shown:
    text = view.asked("q").casefold()
    known = [each for each in await known_tasks(view.place) if text in each.task.casefold()]
    limit = view.rows
    start = view.number("after", 0, 1_000_000) if view.asked("after") else 0
    data = {
        "title": "Tasks",
        "tasks": known[start : start + limit],
        "total": len(known),
        "after": str(start + limit) if len(known) > start + limit else "",
        "text": view.asked("q"),
    }
    return Shown("tasks.html", data)


async def task(view: View) -> Shown:
    name = named(view, "name")
    known = next((each for each in await known_tasks(view.place) if each.task == name), None)
    jobs = await read_page(view.place, JobFilter(task=name), "", _SHOWN)
    ended = await history_page(view, task=name, limit=_RECENT)
    data = {
        "title": f"Task {name}",
        "name": name,
        "task": known or KnownTask(view.connection.label, name, 0, []),
        "is_known": known is not None,
        "jobs": jobs,
        "ended": ended.jobs[:_SHOWN],
        "note": ended.note,
        "times": _times(ended.jobs),
    }
    return Shown("task.html", data)


def _times(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """How the newest finished jobs of a task have ended, and how long they ran."""
    runs = sorted(
        job["finished_at"] - job["started_at"] for job in jobs if job.get("finished_at") and job.get("started_at")
    )

    def at(share: float) -> float | None:
        return runs[min(int(share * len(runs)), len(runs) - 1)] if runs else None

    statuses = Counter(str(job["status"]) for job in jobs)
    return {
        "number": len(jobs),
        "statuses": statuses.most_common(),
        "failed": statuses["FAILED"] / len(jobs) if jobs else 0.0,
        "p50": at(0.5),
        "p95": at(0.95),
        "p99": at(0.99),
    }
