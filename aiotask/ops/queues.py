"""One queue: its numbers, and what is in it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from ..errors import ConfigError
from ..inspector import QueueInfo
from .connection import Connection, Place, inspectors
from .likely import likely
from .pauses import describe_pause, pauses_of

__all__ = ["read_queue"]


async def read_queue(place: Place, name: str) -> list[dict[str, Any]]:
    """The queue of this name, in each app that has it: its counts, its pause, and what waits in it by task.

    Raises:
        ConfigError: no app has such a queue.
    """
    found: list[dict[str, Any]] = []
    known: set[str] = set()
    async with inspectors(place) as opened:
        for each in opened:
            queues = await each.inspector.queues()
            known |= {queue.name for queue in queues}
            found += [await _described(each, queue) for queue in queues if queue.name == name]
    if not found:
        there = f" Queues: {', '.join(sorted(known))}." if known else " No queue has had a job yet."
        raise ConfigError(f'No job has been in a queue "{name}".{likely(name, sorted(known))}{there}')
    return found


async def _described(connection: Connection, queue: QueueInfo) -> dict[str, Any]:
    sample = await connection.inspector.sample(queue.name)
    pause = next((each for each in await pauses_of(connection) if each.queue == queue.name), None)
    return {
        "app": connection.label,
        **asdict(queue),
        "pause": None if pause is None else describe_pause(pause),
        "looked": sample.looked,
        "tasks": sample.tasks,
    }
