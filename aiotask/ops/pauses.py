"""Pauses, and the tasks that live workers have, for commands."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from ..brokers import features, namespaces, require
from ..brokers.pauses import Pause, Pauses, begin_pause, renewed
from ..brokers.technology import PAUSES
from ..errors import ConfigError
from ..job import is_paused_need
from .connection import Connection, Place, inspectors
from .likely import likely

__all__ = [
    "Change",
    "KnownTask",
    "change",
    "describe_pause",
    "known_tasks",
    "pause_awaited",
    "pauses_of",
    "resume_command",
]

#: Commands that are named where a pause was not found, at most.
_SHOWN = 5


@dataclass(frozen=True)
class Change:
    """A pause that a command has begun or ended; ``done`` is False where there was none to end."""

    app: str
    pause: Pause
    done: bool
    #: What is strange about it, as a sentence: no live worker knows its queue or task, say. Empty: nothing.
    note: str = ""

    def described(self) -> dict[str, Any]:
        return {"app": self.app, **describe_pause(self.pause), "done": self.done, "note": self.note}


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


async def pause_awaited(connection: Connection, need: str) -> str:
    """The pause that a parked job waits for, as a sentence without its end; empty: it waits for something else."""
    if not is_paused_need(need):
        return ""
    for pause in await pauses_of(connection):
        if need.startswith(pause.need_in("")):
            by = f" by {pause.by}" if pause.by else ""
            why = f" ({pause.why})" if pause.why else ""
            return f"{pause.what} was paused{by}{why}; {resume_command(pause)} ends that"
    return "its pause is over: a worker takes it as soon as it has a free seat"


def resume_command(pause: Pause) -> str:
    """The command that ends a pause."""
    if pause.queue:
        return f"aiotask queues resume {shlex.quote(pause.queue)}"
    if not pause.task:
        return "aiotask queues resume --all"
    where = f" {shlex.quote(pause.where)}" if pause.where else ""
    return f"aiotask tasks resume {shlex.quote(pause.task)}{where}"


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
            done = await broker.resume(pause.id)
            return Change(connection.label, pause, done, "" if done else await _still_paused(connection))
        apps = await namespaces(connection.broker.url)
        pause, stands = renewed(pause, (await broker.pauses()).pauses)
        # One that stands is written again: that ends a resume which has begun.
        late = await begin_pause(broker, pause)
        unknown = await _unknown(connection, pause) if connection.name in apps else _new(connection, apps)
        notes = (_already(stands, pause) if stands else "", unknown, _late(late))
        return Change(connection.label, pause, True, " ".join(filter(None, notes)))


def _late(count: int) -> str:
    if not count:
        return ""
    processes, they = ("1 worker process has", "It") if count == 1 else (f"{count:,} worker processes have", "They")
    return (
        f"{processes} not confirmed it yet. {they} may start jobs in hand until then: aiotask stack shows what the "
        "processes do."
    )


def _already(stands: Pause, now: Pause) -> str:
    since = datetime.fromtimestamp(stands.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    replaced = f" The reason was: {stands.why}." if stands.why and now.why != stands.why else ""
    return f"It was paused already, by {stands.by or 'an unknown operator'} since {since}.{replaced}"


def _new(connection: Connection, apps: Sequence[str]) -> str:
    """A sentence on an app of which the server had nothing before: a typing error as a rule."""
    known = f"Apps: {', '.join(sorted(apps)[:_SHOWN])}." if apps else "No app has used it yet."
    return f'This server knew no app "{connection.name}".{likely(connection.name, apps)} {known}'


async def _unknown(connection: Connection, pause: Pause) -> str:
    """A sentence on the queue or task of a pause if no live worker has it: a typing error as a rule; else empty."""
    workers = await connection.inspector.workers()
    if not workers or not (pause.queue or pause.task):
        return ""
    if pause.task:
        tasks = {task for worker in workers for task in _names_in(worker.facts, "tasks")}
        return "" if pause.task in tasks else f'No live worker has a task "{pause.task}".{likely(pause.task, [*tasks])}'
    queues = {queue for worker in workers for queue in _names_in(worker.facts, "queues")}
    queues |= {queue.name for queue in (await connection.inspector.stats()).queues if queue.pending}
    if pause.queue in queues:
        return ""
    return f'No live worker consumes a queue "{pause.queue}", and no job waits in it.{likely(pause.queue, [*queues])}'


async def _still_paused(connection: Connection) -> str:
    """A sentence on what is paused, with the commands that resume it; empty: nothing is."""
    commands = [resume_command(pause) for pause in await pauses_of(connection)]
    more = f" (and {len(commands) - _SHOWN:,} more)" if len(commands) > _SHOWN else ""
    return f"What is paused is resumed with: {'; '.join(commands[:_SHOWN])}{more}" if commands else "Nothing is paused."


async def known_tasks(place: Place) -> list[KnownTask]:
    """The tasks of one or more apps, by app and name."""
    async with inspectors(place) as opened:
        return [known for each in opened for known in await _known_in(each)]


def _names_in(facts: Mapping[str, Any], field: str) -> list[str]:
    names = facts.get(field)
    return [str(name) for name in names] if isinstance(names, list) else []


async def _known_in(connection: Connection) -> list[KnownTask]:
    workers = await connection.inspector.workers()
    pauses = await pauses_of(connection)
    counts = Counter(task for worker in workers for task in _names_in(worker.facts, "tasks"))
    names = sorted({*counts, *(pause.task for pause in pauses if pause.task)})
    return [
        KnownTask(connection.label, name, counts[name], [pause for pause in pauses if pause.task == name])
        for name in names
    ]
