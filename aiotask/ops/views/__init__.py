"""What each view shows and what can be done there, for the dashboard in a browser and the one in a terminal alike.

A function for each view reads its data; sentences, marks, questions and the outcomes of actions are worded once, here.
"""

from __future__ import annotations

from .audit import audit
from .bulk import new_bulk
from .dead import dead, letter
from .find import find
from .graphs import graph, graphs
from .history import history
from .job import job
from .jobs import jobs
from .limits import limit, limits
from .overview import overview
from .queues import queue, queues
from .running import running
from .schedules import schedule, schedules
from .tasks import task, tasks
from .workers import host, workers

__all__ = [
    "audit",
    "dead",
    "find",
    "graph",
    "graphs",
    "history",
    "host",
    "job",
    "jobs",
    "letter",
    "limit",
    "limits",
    "new_bulk",
    "overview",
    "queue",
    "queues",
    "running",
    "schedule",
    "schedules",
    "task",
    "tasks",
    "workers",
]
