"""Pauses, and the tasks that live workers have, for commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from ..brokers import features, require
from ..brokers.pauses import Pause, Pauses
from ..brokers.technology import PAUSES
from ..errors import ConfigError
from .connection import Connection, Place, inspectors

__all__ = ["Change", "KnownTask", "change", "describe_pause", "known_tasks", "pauses_of"]


@dataclass(frozen=True)
class Change:
    """A pause that a command has begun or ended; ``done`` is False where there was none to end."""

    app: str
    pause: Pause
    done: bool

    def described(self) -> dict[str, Any]:
        return {"app": self.app, **describe_pause(self.pause), "done": self.done}


@dataclass(frozen=True)
class KnownTask:
    """A task that live workers have, or that is paused."""

    app: str
    task: str
    workers: int
    pauses: Sequence[Pause]

    def described(self) -> dict[str, Any]:
        pauses = [describe_pause(pause) for pause in self.pauses]
        return {"app": self.app, "task": self.task, "workers": self.workers, "pauses": pauses}


def describe_pause(pause: Pause) -> dict[str, Any]:
    """A pause as plain data."""
    return msgspec.structs.asdict(pause)


async def pauses_of(connection: Connection) -> list[Pause]:
    """What is paused of an app; a broker without pauses pauses nothing."""
    if PAUSES not in features(connection.broker.url):
        return []
    return (await cast("Pauses", connection.broker).pauses()).pauses


async def change(place: Place, pause: Pause, *, resume: bool) -> Change:
    """Begin or end a pause in one app.

    Raises:
        ConfigError: there are several apps, and none is named; or the broker keeps no pauses.
    """
    async with inspectors(place) as opened:
        if len(opened) != 1:
            names = ", ".join(each.label for each in opened) or "none"
            raise ConfigError(f"Name the app with --name. Apps on this server: {names}.")
        [connection] = opened
        require(connection.broker.url, PAUSES, "A pause")
        broker = cast("Pauses", connection.broker)
        if resume:
            return Change(connection.label, pause, await broker.resume(pause.id))
        await broker.pause(pause)
        return Change(connection.label, pause, True)


async def known_tasks(place: Place) -> list[KnownTask]:
    """The tasks of one or more apps, by app and name."""
    async with inspectors(place) as opened:
        return [known for each in opened for known in await _known_in(each)]


def _tasks_of(facts: Mapping[str, Any]) -> list[str]:
    tasks = facts.get("tasks")
    return [str(task) for task in tasks] if isinstance(tasks, list) else []


async def _known_in(connection: Connection) -> list[KnownTask]:
    workers = await connection.inspector.workers()
    pauses = await pauses_of(connection)
    counts = Counter(task for worker in workers for task in _tasks_of(worker.facts))
    names = sorted({*counts, *(pause.task for pause in pauses if pause.task)})
    return [
        KnownTask(connection.label, name, counts[name], [pause for pause in pauses if pause.task == name])
        for name in names
    ]
