"""The pages: a function each, which reads what it shows through ``ops``."""

from __future__ import annotations

from .audit import audit
from .bulk import bulk, new_bulk
from .dead import dead, letter
from .find import find
from .graphs import graph, graphs
from .history import history
from .job import body, job
from .jobs import jobs
from .limits import limit, limits
from .overview import overview
from .queues import queue, queues
from .running import running
from .schedules import schedule, schedules
from .series import metrics, series
from .shown import Page, Shown
from .tasks import task, tasks
from .workers import host, workers

__all__ = ["PAGES", "Page", "Shown"]

#: Every page by its path; an id or a name may hold slashes.
PAGES: dict[str, Page] = {
    "/": overview,
    "/find": find,
    "/queues": queues,
    "/queues/{name:path}": queue,
    "/jobs": jobs,
    "/jobs/{id:path}/arguments.txt": body,
    "/jobs/{id:path}": job,
    "/running": running,
    "/dead": dead,
    "/dead/{id:path}": letter,
    "/tasks": tasks,
    "/tasks/{name:path}": task,
    "/workers": workers,
    "/workers/{name:path}": host,
    "/schedules": schedules,
    "/schedules/{name:path}": schedule,
    "/limits": limits,
    "/limits/{name:path}": limit,
    "/graphs": graphs,
    "/graphs/{id:path}": graph,
    "/history": history,
    "/audit": audit,
    "/series.json": series,
    "/metrics": metrics,
    "/bulk": new_bulk,
    "/bulk/{id}": bulk,
}
