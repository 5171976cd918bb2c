"""What waits for a worker that has room for jobs of one kind alone, sync or async."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..broker import Broker
from ..brokers import inspect
from ..tasks.task import Registry

__all__ = ["Probe", "Seen"]


class Seen(Enum):
    """What waits, for a claim that is to bring jobs of the kind that is not full."""

    #: No job at all: a claim that blocks brings the next one at once.
    NOTHING = 0
    #: Jobs of the full kind alone.
    FULL_KIND = 1
    #: A job of the other kind, too.
    OTHER_KIND = 2
    #: More jobs than a look can tell.
    MANY = 3


class Probe:
    """Looks at what waits. A claim takes the next jobs, of whatever kind they are, and those that have no seat go back
    behind the others: where no job of the other kind waits, it would only change their order."""

    def __init__(self, broker: Broker, registry: Registry) -> None:
        self._inspector = inspect(broker)
        self._kinds = {task.name: task.is_async for task in registry}

    async def look(self, queues: Sequence[str], full_of_async: bool) -> Seen:
        """What waits in these queues for a worker that has no seat for async jobs, or none for sync ones."""
        pending = 0
        for queue in queues:
            sample = await self._inspector.sample(queue)
            pending += sample.pending
            if sample.looked < sample.pending or sum(sample.tasks.values()) < sample.looked:
                return Seen.MANY
            if any(self._kinds.get(task) is not full_of_async for task in sample.tasks):
                return Seen.OTHER_KIND
        return Seen.FULL_KIND if pending else Seen.NOTHING
