"""Schedules of one or more apps, for commands: they need the secret and no code of the apps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..brokers import features, schedules_of
from ..brokers.schedules import Declared, ScheduleState
from ..brokers.technology import SCHEDULES
from ..client.schedules import Schedule, Timetable
from ..errors import ConfigError
from ..values.schedule import notes, upcoming
from .connection import Connection, Place, inspectors
from .likely import likely

__all__ = ["disputed", "paused_in", "read_page", "read_schedule", "run_now", "steer"]

#: Names that a wrong one is compared with, at most.
_COMPARED = 1_000


def _timetable(connection: Connection) -> Timetable:
    return Timetable(schedules_of(connection.broker), connection.secrets, connection.name)


@asynccontextmanager
async def _timetables(place: Place) -> AsyncIterator[list[tuple[Connection, Timetable]]]:
    """The schedules of the named app, or of all apps."""
    async with inspectors(place) as opened:
        yield [(each, _timetable(each)) for each in opened if SCHEDULES in features(each.broker.url)]


async def paused_in(connection: Connection) -> list[ScheduleState]:
    """The paused schedules of an app; of a broker without schedules none."""
    if SCHEDULES not in features(connection.broker.url):
        return []
    return await schedules_of(connection.broker).paused_schedules()


async def read_page(place: Place, after: str, limit: int) -> list[dict[str, Any]]:
    """Schedules, app by app, those that are due next first; ``after``: behind the one of this name."""
    page: list[dict[str, Any]] = []
    async with _timetables(place) as found:
        for connection, timetable in found:
            if after and await timetable.find(after) is None:
                continue
            async for schedule in timetable.list(after, limit - len(page)):
                page.append({"app": connection.name, **schedule.described()})
    return page


async def read_schedule(place: Place, name: str, count: int = 5) -> dict[str, Any]:
    """One schedule with its next runs (Unix seconds), and what may surprise about it.

    Raises:
        ConfigError: there is no such schedule.
    """
    async with _timetables(place) as found:
        for connection, timetable in found:
            schedule = await timetable.find(name)
            if schedule is not None:
                time = (await connection.inspector.facts()).time
                declared = await schedules_of(connection.broker).declared_schedules()
                said = [] if schedule.unreadable else notes(schedule.spec)
                return {
                    "app": connection.name,
                    **schedule.described(),
                    "also_declared_by": sorted(_declarers(declared, name) - {schedule.declared_by}),
                    "next_runs": _next_runs(schedule, time, count),
                    "notes": [*disputed(declared, name), *said],
                }
        raise await _unknown(found, name)


def _declarers(declared: Sequence[Declared], name: str) -> set[str]:
    return {each.by for each in declared if each.name == name}


def disputed(declared: Sequence[Declared], name: str = "") -> list[str]:
    """A sentence for each schedule, or the one of this name, that several services declare with different moments."""
    moments: dict[str, set[bytes]] = {}
    for each in declared:
        moments.setdefault(each.name, set()).add(each.moments)
    return [
        f'The schedule "{found}" is declared with different times by the code of '
        f"{' and '.join(sorted(_declarers(declared, found)))}: what was started last counts. "
        "Give it the same times in all, or another name."
        for found, several in sorted(moments.items())
        if len(several) > 1 and name in ("", found)
    ]


def _next_runs(schedule: Schedule, now: float, count: int) -> list[float]:
    if schedule.unreadable or schedule.paused:
        return []
    return upcoming(schedule.spec, schedule.name, now, count)


async def steer(place: Place, name: str, verb: Callable[[Timetable, str], Awaitable[Any]]) -> dict[str, Any]:
    """Call a verb of the timetable that has a schedule of this name; the schedule afterwards, or as it was, and in
    ``done`` whether that changed anything: what is not paused is not resumed.

    Raises:
        ConfigError: there is no such schedule.
    """
    async with _timetables(place) as found:
        for connection, timetable in found:
            before = await timetable.find(name)
            if before is not None:
                await verb(timetable, name)
                after = await timetable.find(name) or before
                done = verb is not Timetable.resume or before.paused is not None
                return {"app": connection.name, **after.described(), "done": done}
        raise await _unknown(found, name)


async def run_now(place: Place, name: str) -> dict[str, Any]:
    """Send the job of a schedule now.

    Raises:
        ConfigError: there is no such schedule.
    """
    async with _timetables(place) as found:
        for connection, timetable in found:
            if await timetable.find(name) is not None:
                return {"app": connection.name, "name": name, "id": await timetable.run_now(name)}
        raise await _unknown(found, name)


async def _unknown(opened: list[tuple[Connection, Timetable]], name: str) -> ConfigError:
    names = [schedule.name for _, timetable in opened async for schedule in timetable.list("", _COMPARED)]
    return ConfigError(f'There is no schedule "{name}".{likely(name, names)} List them: aiotask schedules')
