"""The pages: a function each, which reads what it shows through ``ops``."""

from __future__ import annotations

from ....ops import views
from .bulk import bulk, new_bulk
from .find import find
from .job import body, job
from .read import letter, page, page_of
from .series import metrics, series
from .shown import Page, Shown

__all__ = ["PAGES", "Page", "Shown"]

#: Every page by its path; an id or a name may hold slashes.
PAGES: dict[str, Page] = {
    "/": page("overview.html", views.overview, charts=True),
    "/find": find,
    "/queues": page("queues.html", views.queues),
    "/queues/{name:path}": page_of("queue.html", views.queue, "name", "queue"),
    "/jobs": page("jobs.html", views.jobs),
    "/jobs/{id:path}/arguments.txt": body,
    "/jobs/{id:path}": job,
    "/running": page("running.html", views.running),
    "/dead": page("dead.html", views.dead),
    "/dead/{id:path}": letter,
    "/tasks": page("tasks.html", views.tasks, charts=True),
    "/tasks/{name:path}": page_of("task.html", views.task, "name", "task"),
    "/workers": page("workers.html", views.workers),
    "/workers/{name:path}": page_of("host.html", views.host, "name"),
    "/schedules": page("schedules.html", views.schedules),
    "/schedules/{name:path}": page_of("schedule.html", views.schedule, "name"),
    "/limits": page("limits.html", views.limits),
    "/limits/{name:path}": page_of("limit.html", views.limit, "name"),
    "/graphs": page("graphs.html", views.graphs),
    "/graphs/{id:path}": page_of("graph.html", views.graph, "id"),
    "/history": page("history.html", views.history),
    "/audit": page("audit.html", views.audit),
    "/series.json": series,
    "/metrics": metrics,
    "/bulk": new_bulk,
    "/bulk/{id}": bulk,
}
