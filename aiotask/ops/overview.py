"""The apps on a broker: their queues and their workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..brokers.pauses import Pause
from ..errors import AiotaskError
from ..inspector import QueueInfo, WorkerInfo
from .connection import Connection, Place, inspectors, is_idle, without_idle
from .describe import describe_queue, describe_worker
from .graphs import Running, running
from .pauses import describe_pause, pauses_of

__all__ = ["AppOverview", "live_workers", "overview"]


@dataclass(frozen=True)
class AppOverview:
    """The tasks or the rows of one app: queues and live workers, graphs that run, what is paused, and how many messages
    without a valid seal were set aside."""

    app: str
    url: str
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    rejected: int
    graphs: Running
    pauses: list[Pause]

    def described(self) -> dict[str, Any]:
        return {
            "app": self.app,
            "url": self.url,
            "queues": [describe_queue(queue) for queue in self.queues],
            "workers": [describe_worker(worker) for worker in self.workers],
            "rejected": self.rejected,
            "graphs": asdict(self.graphs),
            "pauses": [describe_pause(pause) for pause in self.pauses],
        }


async def overview(place: Place, everything: bool) -> tuple[list[AppOverview], list[str]]:
    """The named app or all apps, and the names of those that were left out: without workers and jobs.

    Args:
        everything: leave no app out.
    """
    async with inspectors(place) as opened:
        shown, idle = (opened, []) if everything or place.name else await without_idle(opened)
        if place.name and not everything:
            shown = await _without_missing_tasks(opened)
        return [await _overview_of(each) for each in shown], idle


async def _without_missing_tasks(opened: list[Connection]) -> list[Connection]:
    """The tasks and rows of one app; without its tasks if it has rows, and no task is known on the broker."""
    if not any(each.app is None for each in opened):
        return opened
    return [each for each in opened if each.app is None or not await is_idle(each)]


async def _overview_of(connection: Connection) -> AppOverview:
    return AppOverview(
        app=connection.name,
        url=connection.address,
        queues=await connection.inspector.queues(),
        workers=await connection.inspector.workers(),
        rejected=await connection.inspector.rejected(),
        graphs=await running(connection),
        pauses=await pauses_of(connection),
    )


async def live_workers(url: str) -> int:
    """How many workers of all apps are live on the server at this address; 0 if it does not answer."""
    try:
        async with inspectors(Place(url=url)) as opened:
            return sum([len(await each.inspector.workers()) for each in opened])
    except AiotaskError:
        return 0
