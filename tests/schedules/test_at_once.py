"""Thousands of schedules that are due at one moment: what the keeper and the server do for each of them."""

from __future__ import annotations

import pytest
from cronsim import CronSim

from aiotask.brokers import connect, schedules_of
from aiotask.brokers.schedules import Declaration, Fire, Schedules
from aiotask.keeper.scheduler import Scheduler
from aiotask.values import schedule
from aiotask.values.schedule import Spec, digest
from aiotask.wire.scheduled import Declared, ScheduledCall
from aiotask.wire.scheduled import Schedules as Seals

from ..server import PrivateServer

SECRET, COUNT = "of the app", 1_000
#: What the calendars of the schedules are, in turn.
CALENDARS = ("* * * * *", "*/2 * * * *", "*/3 * * * *", "*/5 * * * *")


async def set_all(schedules: Schedules, app: str) -> None:
    seals = Seals([SECRET], app)
    declared = []
    for n in range(COUNT):
        name, spec = f"s{n}", Spec(cron=CALENDARS[n % len(CALENDARS)])
        call = ScheduledCall(1, "shop:report", "default", b"body")
        declared.append(Declaration(name, seals.seal(Declared(1, app, name, spec, call)), digest(spec), spec.horizon))
    for start in range(0, COUNT, 250):
        await schedules.set_schedules(declared[start : start + 250])


async def make_due(schedules: Schedules, moment: float) -> None:
    """Let the next run of each be the one at a moment that has passed."""
    states, after = [], ""
    while page := await schedules.list_schedules(after, 250):
        states += page
        after = page[-1].name
    for start in range(0, COUNT, 250):
        fires = [Fire(state, moment, moment, state.last) for state in states[start : start + 250]]
        assert all(await schedules.fire(fires))


async def test_schedules_that_are_due_at_one_moment_share_calls_commands_and_calendars(
    own_server: PrivateServer, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules = schedules_of(connect(own_server.url, app_name))
    scheduler = Scheduler(schedules, [SECRET], app_name)
    await set_all(schedules, app_name)
    await scheduler.tick()
    moment = (await schedules.due_schedules(0)).time // 60 * 60
    await make_due(schedules, moment)
    calendars: list[Spec] = []
    read = schedule._cron

    def counted(spec: Spec, start: float) -> CronSim:
        calendars.append(spec)
        return read(spec, start)

    monkeypatch.setattr(schedule, "_cron", counted)
    own_server.call("CONFIG", "RESETSTAT")

    assert await scheduler.tick() == COUNT

    calls = {name: each["calls"] for name, each in own_server.call("INFO", "commandstats").items()}
    scripts = sum(calls.pop(f"cmdstat_{name}", 0) for name in ("evalsha", "eval"))
    assert own_server.call("XLEN", f"aiotask1:{{{app_name}}}:q:default:5") == COUNT
    # A look reads 250, and what is sent of them goes in two calls.
    assert scripts <= 14
    # An entry of the lane, and the look for a job of the same id.
    assert sum(calls.values()) / COUNT <= 2.5
    assert len(calendars) <= len(CALENDARS)
    await schedules.close()
