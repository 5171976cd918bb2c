"""The keeper's agent: schedules become jobs, by a clock that the test turns."""

from __future__ import annotations

import asyncio
import collections
import logging
import random
from datetime import UTC, datetime
from typing import cast

import pytest

from aiotask.broker import Broker
from aiotask.brokers import connect, schedules_of
from aiotask.brokers.bounds import DECLARER_TTL
from aiotask.brokers.expiry import Expiry
from aiotask.brokers.memory.stores import store_of
from aiotask.brokers.schedules import Declaration, Schedules
from aiotask.job import RELEASE, More, decode_job
from aiotask.keeper.scheduler import Scheduler
from aiotask.values.schedule import Spec, after, digest
from aiotask.wire.scheduled import Declared, ScheduledCall, run_id
from aiotask.wire.scheduled import Schedules as Seals
from aiotask.wire.seal import Sealer

from ..seam import Worker, drain
from ..turned_clock import TurnedClock

SECRET = "of the app"
MINUTE, HOUR = 60.0, 3600.0
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock(NOON + 1)


@pytest.fixture
def memory(app_name: str, clock: TurnedClock) -> Broker:
    store_of("memory://", app_name, clock)
    return connect("memory://", app_name)


@pytest.fixture
def schedules(memory: Broker) -> Schedules:
    return schedules_of(memory)


@pytest.fixture
def scheduler(schedules: Schedules, app_name: str) -> Scheduler:
    return Scheduler(schedules, [SECRET], app_name)


@pytest.fixture
async def worker(memory: Broker) -> Worker:
    return await Worker(memory, "host.1", ["default", "mail"]).enlist()


def sealed(app: str, name: str, spec: Spec, call: ScheduledCall | None = None, secret: str = SECRET) -> Declaration:
    call = call or ScheduledCall(1, "shop:report", "default", b"body")
    declared = Declared(1, app, name, spec, call)
    return Declaration(name, Seals([secret], app).seal(declared), digest(spec), spec.horizon)


async def runs(worker: Worker) -> list[float]:
    """The moments in the ids of what was sent."""
    return [float(id.split("-")[2]) for id in await drain(worker)]


async def test_the_first_run_counts_from_when_it_was_set(
    schedules: Schedules, scheduler: Scheduler, worker: Worker, clock: TurnedClock, app_name: str
) -> None:
    await schedules.set_schedules([sealed(app_name, "a", Spec(cron="0 * * * *"))])
    await scheduler.tick()
    assert await runs(worker) == []

    clock.turn(HOUR - 1)
    await scheduler.tick()
    assert await runs(worker) == [NOON + HOUR]
    await scheduler.tick()
    assert await runs(worker) == []


async def test_the_job_of_a_run_is_the_call_of_the_declaration(
    memory: Broker,
    schedules: Schedules,
    scheduler: Scheduler,
    worker: Worker,
    clock: TurnedClock,
    app_name: str,
) -> None:
    more = More(headers={"tenant": "7"}, expires=-30.0)
    call = ScheduledCall(RELEASE, "shop:mail", "mail", b"the body", 2, 5, 9.0, 77.0, more)
    await schedules.set_schedules([sealed(app_name, "a", Spec(every=MINUTE), call)])
    await scheduler.tick()
    clock.turn(MINUTE)
    await scheduler.tick()

    [delivery] = (await worker.claim()).deliveries
    job = decode_job(Sealer([SECRET], "job").open(delivery.sealed))

    assert delivery.lane == "q:mail:2"
    assert job.id == delivery.id == run_id("a", NOON + MINUTE)
    assert (job.version, job.task, job.queue, job.body, job.priority) == (RELEASE, "shop:mail", "mail", b"the body", 2)
    assert (job.retries, job.timeout, job.result_ttl, job.reply) == (5, 9.0, 77.0, "")
    assert job.more == more
    assert await cast("Expiry", memory).seconds_left([job.id]) == [30.0]


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 3)])
async def test_a_time_without_keepers(
    schedules: Schedules,
    scheduler: Scheduler,
    worker: Worker,
    clock: TurnedClock,
    app_name: str,
    missed: str,
    count: int,
) -> None:
    await schedules.set_schedules([sealed(app_name, "a", Spec(every=HOUR, missed=missed))])
    await scheduler.tick()
    clock.turn(3.5 * HOUR)
    await scheduler.tick()

    assert await runs(worker) == [NOON + n * HOUR for n in (1, 2, 3)][3 - count :]
    clock.turn(HOUR / 2)
    await scheduler.tick()
    assert await runs(worker) == [NOON + 4 * HOUR]


async def test_of_thousands_of_missed_runs_the_newest_thousand_are_sent_in_their_order_and_the_rest_is_told(
    schedules: Schedules,
    scheduler: Scheduler,
    worker: Worker,
    clock: TurnedClock,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await schedules.set_schedules([sealed(app_name, "a", Spec(every=MINUTE, missed="all"))])
    await scheduler.tick()
    clock.turn(1_500.5 * MINUTE)
    with caplog.at_level(logging.WARNING):
        await scheduler.tick()

    assert await runs(worker) == [NOON + n * MINUTE for n in range(501, 1_501)]
    assert [record.getMessage() for record in caplog.records if "500 older ones do not" in record.getMessage()]
    state = await schedules.schedule("a")
    assert state is not None and state.runs == 1_000


async def test_a_clock_that_is_set_back_an_hour(
    schedules: Schedules, scheduler: Scheduler, worker: Worker, clock: TurnedClock, app_name: str
) -> None:
    """What a calendar has run is not run again; what comes every minute goes on in its step."""
    await schedules.set_schedules(
        [sealed(app_name, "cron", Spec(cron="* * * * *")), sealed(app_name, "every", Spec(every=MINUTE))]
    )
    await scheduler.tick()
    clock.turn(MINUTE)
    await scheduler.tick()
    assert len(await drain(worker)) == 2

    clock.turn(-HOUR)
    scheduler._may_stray = True
    ran = []
    for _ in range(61):
        await scheduler.tick()
        clock.turn(MINUTE)
        ran += await drain(worker)
    await scheduler.tick()
    ran += await drain(worker)

    assert len(ran) == len(set(ran))
    assert sum(id.startswith(run_id("every", 0)[:-1]) for id in ran) == 61
    assert sum(id.startswith(run_id("cron", 0)[:-1]) for id in ran) == 1


async def test_a_clock_that_is_set_back_is_noticed_in_what_promote_says(
    memory: Broker, schedules: Schedules, scheduler: Scheduler, worker: Worker, clock: TurnedClock, app_name: str
) -> None:
    await schedules.set_schedules([sealed(app_name, "every", Spec(every=MINUTE))])
    running = asyncio.create_task(scheduler.run())
    try:
        await until_stands(memory, schedules, scheduler, NOON + MINUTE)
        clock.turn(-HOUR)
        await until_stands(memory, schedules, scheduler, NOON - HOUR + MINUTE)
    finally:
        running.cancel()


async def until_stands(memory: Broker, schedules: Schedules, scheduler: Scheduler, moment: float) -> None:
    async with asyncio.timeout(30):
        while (state := await schedules.schedule("every")) is None or state.moment != moment:
            await memory.promote()
            scheduler.hear(schedules.schedules_due)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("silence", "left"), [(DECLARER_TTL - 1, ["both"]), (DECLARER_TTL + 1, [])])
async def test_code_that_has_been_silent_for_minutes_is_left_nothing(
    schedules: Schedules, clock: TurnedClock, app_name: str, silence: float, left: list[str]
) -> None:
    both = sealed(app_name, "both", Spec(every=MINUTE))
    await schedules.declare_schedules("mail", 100.0, [both], removes=True)
    clock.turn(silence)
    await schedules.declare_schedules("shop", 200.0, [both], removes=True)

    await schedules.declare_schedules("shop", 300.0, [], removes=True)

    assert [state.name for state in await schedules.list_schedules()] == left


@pytest.mark.trap("zone without data")
async def test_what_this_host_cannot_run_is_left_to_others_and_said_once(
    schedules: Schedules,
    scheduler: Scheduler,
    worker: Worker,
    clock: TurnedClock,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forged = sealed(app_name, "forged", Spec(every=MINUTE), secret="of another")
    moved = sealed("another app", "of another app", Spec(every=MINUTE))
    zone = sealed(app_name, "zone", Spec(cron="* * * * *", timezone="Mars/Olympus"))
    renamed = sealed(app_name, "renamed", Spec(every=MINUTE))
    renamed = Declaration("another name", renamed.sealed, renamed.moments, renamed.horizon)
    good = sealed(app_name, "good", Spec(every=MINUTE))
    await schedules.set_schedules([forged, moved, zone, renamed, good])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await scheduler.tick()
            clock.turn(MINUTE)

    assert {id.split("-")[1] for id in await drain(worker)} == {run_id("good", 0).split("-")[1]}
    for name in ("forged", "zone"):
        said = [record.getMessage() for record in caplog.records if f'"{name}"' in record.getMessage()]
        assert len(said) == 1 and "cannot be run by this host" in said[0]


async def test_each_run_is_sent_once_by_three_keepers_that_die_under_a_clock_that_steps(
    memory: Broker, schedules: Schedules, worker: Worker, clock: TurnedClock, app_name: str
) -> None:
    rng = random.Random(11)
    specs = {f"e{n}": Spec(every=30.0, missed="all") for n in range(3)}
    specs["m"] = Spec(cron="* * * * *", missed="all")
    specs["q"] = Spec(cron="*/5 * * * *", timezone="Europe/Berlin", jitter=90.0, missed="all")
    await schedules.set_schedules([sealed(app_name, name, spec) for name, spec in specs.items()])
    begun = clock.now

    class Dying(Exception):
        pass

    async def keeper() -> None:
        keeping = schedules_of(connect("memory://", app_name))
        fire = keeping.fire

        async def dying_fire(batch):  # type: ignore[no-untyped-def]
            await asyncio.sleep(0)
            if rng.random() < 0.1:
                raise Dying  # between the look and the word
            return await fire(batch)

        keeping.fire = dying_fire  # type: ignore[method-assign]
        while clock.now < begun + 4 * HOUR:
            agent = Scheduler(keeping, [SECRET], app_name)
            try:
                while clock.now < begun + 4 * HOUR:
                    await agent.tick()
                    await asyncio.sleep(0)
            except Dying:
                pass

    async def time_passes() -> None:
        for step in range(10_000):
            if clock.now >= begun + 4 * HOUR:
                return
            clock.turn(HOUR / 2 if step == 100 else rng.choice((0.0, 5.0, 30.0)))
            await asyncio.sleep(0)

    await asyncio.gather(keeper(), keeper(), keeper(), time_passes())
    await Scheduler(schedules, [SECRET], app_name).tick()

    sent = collections.Counter(await drain(worker))
    expected = []
    for name, spec in specs.items():
        state = await schedules.schedule(name)
        assert state is not None
        moment = after(spec, begun)
        while moment < state.moment:
            expected.append(run_id(name, moment))
            moment = after(spec, moment)
    assert sent == collections.Counter(expected)
    assert len(expected) > 1_000
