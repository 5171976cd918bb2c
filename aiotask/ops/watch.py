"""Watching one job, or the graph that was sent with it, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ..errors import ResultExpired
from ..job import FINAL, Status
from ..results.progress import Progress
from .connection import Connection, Place, inspectors
from .describe import describe_job
from .graphs import head_of
from .progress import progress_of

__all__ = ["View", "watch"]

#: Seconds between two looks.
EVERY = 0.25
#: Looks for which a job may be unknown that was seen before, and the same for one that was not.
_MISSES = 4


@dataclass(frozen=True)
class View:
    """How a job stands, and the graph that was sent with it, if there is one."""

    app: str
    id: str
    task: str
    status: str
    progress: Progress | None = None
    #: Jobs of the graph that have ended, and all of them; 0: there is no graph.
    ended: int = 0
    total: int = 0

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL and self.ended == self.total

    @property
    def shown(self) -> Progress | None:
        """The progress to show: that of the job, else that of the graph."""
        if self.progress is None and self.total:
            return Progress(self.ended, self.total, "jobs of the graph")
        return self.progress

    def described(self) -> dict[str, Any]:
        progress = self.progress
        return {
            "app": self.app,
            "id": self.id,
            "task": self.task,
            "status": self.status,
            "current": progress.current if progress else None,
            "total": progress.total if progress else None,
            "message": progress.message if progress else None,
            "graph_ended": self.ended,
            "graph_total": self.total,
        }


async def watch(id: str, place: Place) -> AsyncIterator[View]:
    """How a job or a graph stands, each time that it has changed, until it has ended.

    Raises:
        ResultExpired: there is no such job on the server.
    """
    async with inspectors(place) as opened:
        last: View | None = None
        misses = 0
        while True:
            view = await _look_in_all(opened, id)
            if view is None and (last is None or (misses := misses + 1) > _MISSES):
                raise ResultExpired(
                    f'No job "{id}" is on the server: {place.why_unknown}. The history may have it: aiotask job {id}'
                )
            if view is not None and view != last:
                yield view
                last, misses = view, 0
            if last is not None and last.is_final:
                return
            await asyncio.sleep(EVERY)


async def _look_in_all(opened: list[Connection], id: str) -> View | None:
    for each in opened:
        if (view := await _look(each, id)) is not None:
            return view
    return None


async def _look(connection: Connection, id: str) -> View | None:
    graph = await head_of(connection, id)
    info = await connection.inspector.job(id)
    if info is None and graph is None:
        return None
    job = {} if info is None else describe_job(connection, info)
    status = str(job.get("status") or (Status.WAITING if graph is not None and graph.left else Status.SUCCESS))
    total, left = (0, 0) if graph is None else (graph.total, graph.left)
    task = str(job.get("task") or "(group)")
    return View(connection.name, id, task, status, await progress_of(connection, id), total - left, total)
