"""T1 to T5: schedules of real services: deaths, changed clocks, times without a keeper, deploys, and many of them."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from signal import SIGHUP
from typing import Any

import psutil
import pytest

from aiotask import App
from aiotask.brokers import connect, schedules_of
from aiotask.parts.schedules import _Call, declaration
from aiotask.values.schedule import Spec

from ..chaos.faults.clock import Clock, build
from ..helpers import wait_until, wait_until_async
from ..recovery.deaths import has_keeper, keeper_of, kill_all
from ..schedules.place import TICKING, Place
from ..schedules.zones import CHANGES, local
from ..server import PrivateServer
from ..workers import Workers

#: Nothing runs by itself but what the test sets.
QUIET = TICKING.replace("@app.task(every=0.5)", "@app.task").replace(
    '@app.task(cron="* * * * *", timezone="Europe/Berlin", missed="all")', "@app.task"
)


# ---- T1


def test_t1_each_run_comes_once_over_deaths_of_keepers_and_hosts_and_of_the_server(
    durable_server: PrivateServer, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, durable_server.url, tmp_path)
    place.write(TICKING)
    services = [place.start(concurrency=1) for _ in range(3)]
    wait_until(place.more(4), description="it runs")
    for service in services:
        wait_until(lambda service=service: has_keeper(service), description="there is a keeper")

    keeper_of(services[0]).kill()
    wait_until(place.more(3), description="it runs without that keeper")
    kill_all(services[1])
    wait_until(place.more(3), description="it runs without that host")
    durable_server.stop()
    durable_server.start()
    wait_until(place.more(6), timeout=60, description="it runs on the server that was started again")

    each_ran_once(place, "ticking:tick", 0.5)


def test_t1_each_run_of_a_calendar_comes_once_over_deaths_of_keepers_and_hosts(
    clocked: Clocked, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, clocked.url, tmp_path)
    place.write(TICKING.replace("@app.task(every=0.5)", "@app.task"))
    services = [place.start(concurrency=1) for _ in range(3)]
    for service in services:
        wait_until(lambda service=service: has_keeper(service), description="there is a keeper")
    # Two minutes in each second.
    clocked.clock.drift(119.0)
    wait_until(place.more(2), description="it runs")
    for service in services:
        keeper_of(service).kill()
        wait_until(place.more(2), description="it runs without that keeper")
    kill_all(services[1])
    wait_until(place.more(4), timeout=60, description="it runs without that host")
    clocked.clock.drift(0.0)

    each_ran_once(place, "ticking:tock", 60.0)


def each_ran_once(place: Place, name: str, step: float) -> None:
    """Each moment of a schedule from its first run to the last one that is seen now has run, and one job has."""
    first, last = min(place.moments(name)), max(place.moments(name))

    def lacks() -> list[float]:
        ran = {round(moment, 3) for moment in place.moments(name)}
        steps = round((last - first) / step)
        return [moment for n in range(steps) if (moment := round(first + n * step, 3)) not in ran]

    # A run that the dead host had claimed comes once that host is known to be dead.
    wait_until(lambda: not lacks(), description="no run is missing", timeout=60)
    counted = collections.Counter(place.moments(name))
    # A job of the host that died may have run and not ended: that one runs again.
    assert sum(count - 1 for count in counted.values()) <= 1


# ---- T2 and T3


async def test_t2_runs_come_when_they_should_on_days_on_which_clocks_are_changed(
    clocked: Clocked, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, clocked.url, tmp_path)
    place.write(QUIET)
    place.start(concurrency=1)
    app = App(app_name, url=clocked.url)
    # In the order of their dates, since the clock goes on.
    for number, (zone, cron, start, runs) in enumerate(sorted(CHANGES, key=lambda row: local(row[0], *row[2]))):
        name = f"{zone} {number}"
        expected = [datetime.strptime(f"{start[0]}-{run}", "%Y-%m-%d %H:%M%z").timestamp() for run in runs]
        clocked.turn_to(local(zone, *start))
        await app.schedules.set(name, app.s("ticking:tick"), cron=cron, timezone=zone, missed="all")
        for moment in expected:
            clocked.turn_to(moment - 0.1)
            assert moment not in place.moments(name)
            ran = lambda name=name, moment=moment: moment in place.moments(name)  # noqa: E731
            await wait_until_async(ran, description=f"{name} has run at {moment}")
        await app.schedules.remove(name)
        assert place.moments(name) == expected, name
    await app.client.close()


async def test_t3_what_was_missed_while_no_keeper_lived_is_judged_by_the_schedule(
    clocked: Clocked, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, clocked.url, tmp_path)
    place.write(QUIET)
    service = place.start(concurrency=1)
    begin = local("UTC", 2027, 1, 1, 12, 0)
    clocked.turn_to(begin - 2.0)
    app = App(app_name, url=clocked.url)
    for missed in ("skip", "once", "all"):
        await app.schedules.set(missed, app.s("ticking:tick"), cron="*/5 * * * *", missed=missed)

    def have_run(skip: list[int], once: list[int], all: list[int]) -> Callable[[], bool]:
        wanted = {"skip": skip, "once": once, "all": all}
        return lambda: (
            {name: [round((moment - begin) / 60) for moment in place.moments(name)] for name in wanted} == wanted
        )

    await wait_until_async(have_run([0], [0], [0]), description="each runs while a keeper lives")
    assert service.stop() == 0
    clocked.turn_to(begin + 17 * 60)
    place.start(concurrency=1)
    await wait_until_async(have_run([0], [0, 15], [0, 5, 10, 15]), description="what was missed has run")
    # One that is a second late is not missed.
    clocked.turn_to(begin + 20 * 60 + 1)
    late = have_run([0, 20], [0, 15, 20], [0, 5, 10, 15, 20])
    await wait_until_async(late, description="each has run that was a second late")
    clocked.turn_to(begin + 25 * 60 - 0.1)
    on = have_run([0, 20, 25], [0, 15, 20, 25], [0, 5, 10, 15, 20, 25])
    await wait_until_async(on, description="and each goes on")
    await app.client.close()


# ---- T4

BEFORE = (
    TICKING
    + """

@app.task(every=0.5)
def dropped() -> None:
    note()


@app.task(cron="0 9 * * MON")
def weekly() -> None:
    note()
"""
)
AFTER = (
    BEFORE.partition("\n\n@app.task(every=0.5)\ndef dropped")[0]
    .replace("every=0.5", "every=0.4")
    .replace("async def tock", "async def renamed")
    + """

@app.task(cron="0 10 * * MON")
def weekly() -> None:
    note()
"""
)


def test_t4_a_deploy_that_changes_removes_and_renames_and_the_rollback(
    workers: Workers, app_name: str, redis_url: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, redis_url, tmp_path)
    place.write(BEFORE)
    names = {f"ticking:{name}" for name in ("tick", "tock", "dropped", "weekly")}
    renamed = {f"ticking:{name}" for name in ("tick", "renamed", "weekly")}
    # Its processes are replaced all the time.
    old = place.start(concurrency=2, options=("--max-jobs-per-child", "2"))
    wait_until(place.more(3), description="it runs")
    assert place.names() == names

    place.write(AFTER)
    wait_until(place.more(8), description="processes of the old service are replaced")
    assert (said(place, "tick", "every"), said(place, "weekly", "cron")) == (0.5, "0 9 * * MON")

    new = place.start(concurrency=1)
    wait_until(lambda: place.names() == renamed, description="the new release has declared")
    wait_until(lambda: said(place, "tick", "every") == 0.4, description="and changed")
    assert said(place, "weekly", "cron") == "0 10 * * MON"
    gone = max(place.moments("ticking:tick")) + 0.5
    wait_until(place.more(6), description="it runs")
    assert place.names() == renamed
    assert max(place.moments("ticking:dropped")) <= gone

    place.write(BEFORE)
    old.signal(SIGHUP)
    wait_until(lambda: place.names() == names, timeout=60, description="the rollback wins")
    wait_until(lambda: said(place, "tick", "every") == 0.5, description="and changes back")
    assert said(place, "weekly", "cron") == "0 9 * * MON"
    new.stop()
    wait_until(place.more(4), description="it runs")
    assert place.names() == names
    assert max(collections.Counter(place.runs()).values()) == 1
    wait_until(lambda: re.fullmatch("a+x?b+x?a+", steps(place)), description="none is lost, and none of both has run")


def said(place: Place, name: str, field: str) -> Any:
    return next(schedule[field] for schedule in place.ask() if schedule["name"] == f"ticking:{name}")


def steps(place: Place) -> str:
    """The steps between the runs of a schedule: those before the change are ``a``, those after it ``b``."""
    moments = sorted(place.moments("ticking:tick"))
    known = {0.5: "a", 0.4: "b"}
    found = [round(later - earlier, 3) for earlier, later in pairwise(moments)]
    # Between the last run of one release and the first one of the next there is less than both steps.
    return "".join(known.get(step, "x" if step < 0.9 else "?") for step in found)


# ---- T5


async def test_t5_very_many_schedules_cost_the_keeper_nothing_while_they_wait(
    own_server: PrivateServer, workers: Workers, app_name: str, tmp_path: Path, is_full: bool
) -> None:
    place = Place(workers, app_name, own_server.url, tmp_path)
    place.write(QUIET)
    service = place.start(concurrency=1)
    app = App(app_name, url=own_server.url)
    await app.schedules.set("first", app.s("ticking:tick"), every=0.3)
    wait_until(place.more(1), description="it runs")
    keeper = keeper_of(service)
    before = cost(own_server, keeper)

    count = 100_000 if is_full else 20_000
    task, spec = app.named("ticking:tick").definition, Spec(cron="0 0 1 1 *")
    broker = schedules_of(connect(own_server.url, app_name))
    for start in range(0, count, 500):
        batch = [declaration(app, f"s{n:06}", spec, _Call(task, (), {})) for n in range(start, start + 500)]
        await broker.set_schedules(batch)
    await app.schedules.pause("s000017")
    await app.schedules.set("s000018", app.s("ticking:tick"), every=0.3)
    assert await app.schedules.remove("s000019")
    await wait_until_async(lambda: len(place.moments("s000018")) > 1, description="the changed one runs")

    after = cost(own_server, keeper)
    names = [schedule.name async for schedule in app.schedules.list(limit=count + 10)]
    assert sorted(names) == sorted(["first", *(f"s{n:06}" for n in range(count) if n != 19)])
    assert names[-1] == "s000017"
    # Of the looks of one keeper: a schedule that is not due is not looked at.
    assert after < 3 * before + 0.01
    await broker.close()
    await app.client.close()


def cost(server: PrivateServer, keeper: psutil.Process) -> float:
    """Seconds of its processor that a keeper takes for a look: mean of twenty."""

    def looks() -> int:
        return sum(
            stats["calls"]
            for name, stats in server.call("INFO", "commandstats").items()
            if name in ("cmdstat_evalsha", "cmdstat_fcall")
        )

    first, began = looks(), sum(keeper.cpu_times()[:2])
    wait_until(lambda: looks() >= first + 100, description="the keeper has looked")
    return (sum(keeper.cpu_times()[:2]) - began) / (looks() - first)


# ---- servers


class Clocked:
    """A server whose clock can be turned."""

    def __init__(self, server: PrivateServer, clock: Clock) -> None:
        self.server, self.clock = server, clock
        self.url = server.url

    def turn_to(self, moment: float) -> None:
        """Let the server's clock show this moment, by Unix time."""
        self.clock.step(moment - self.clock.reads())
        # Some servers look at the clock only now and then.
        wait_until(lambda: abs(self._shown() - self.clock.reads()) < 1.0, description="the server has seen it")

    def _shown(self) -> float:
        seconds, micros = self.server.call("TIME")
        return float(seconds) + float(micros) / 1e6


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    library = build(tmp_path)
    if library is None:
        pytest.skip("a clock that can be turned needs Linux and a C compiler")
    server, clock = PrivateServer(), Clock(library, tmp_path / "clock")
    server.environment = clock.environment
    try:
        clock.step(local("UTC", 2011, 12, 1) - time.time())
        server.start()
        yield Clocked(server, clock)
    finally:
        server.remove()


@pytest.fixture
def durable_server() -> Iterator[PrivateServer]:
    """A server that has all that it had when it is started again."""
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        yield server
    finally:
        server.remove()
