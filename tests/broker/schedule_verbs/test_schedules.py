"""Schedules: declared by code and set at run time, and each run sent once, whoever asks."""

from __future__ import annotations

import asyncio
import math
from typing import cast

import msgspec
import pytest

from aiotask.broker import Broker, Special
from aiotask.brokers import schedules_of
from aiotask.brokers.expiry import Expiry
from aiotask.brokers.schedules import UNPLANNED, Declaration, Fire, Schedules, ScheduleState
from aiotask.errors import BrokerError
from aiotask.job import Status

from ...seam import MakeBroker, Worker, a_push, drain, send, status_of

HOUR = 3600.0


def declared(name: str, moments: str = "hourly", *, horizon: float = 0.0, call: str = "call") -> Declaration:
    sealed = f"{'seal of ' + name + call:<21.21}sealed {name} {call}".encode()
    return Declaration(name, sealed, f"{moments:<8.8}".encode(), horizon)


async def state_of(schedules: Schedules, name: str) -> ScheduleState:
    state = await schedules.schedule(name)
    assert state is not None
    return state


async def plan(schedules: Schedules, name: str, due_in: float) -> ScheduleState:
    """Let the next run of a schedule be due in so many seconds."""
    at = (await schedules.due_schedules(0)).time
    state = await state_of(schedules, name)
    assert await schedules.fire([Fire(state, at + due_in, at + due_in, state.last)]) == [True]
    return await state_of(schedules, name)


async def names(schedules: Schedules) -> list[str]:
    return sorted(state.name for state in await schedules.list_schedules())


# ---- set at run time


async def test_a_schedule_that_is_set_is_due_at_once_so_that_its_next_run_is_computed(schedules: Schedules) -> None:
    assert await schedules.set_schedules([declared("a")]) == []

    look = await schedules.due_schedules(10)
    [state] = look.due

    assert (state.name, state.by, state.moment, state.runs, state.last) == ("a", "", UNPLANNED, 0, 0.0)
    assert look.time - 60 < state.since == state.due <= look.time


async def test_what_is_set_again_with_the_same_moments_keeps_its_next_run(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    before = await plan(schedules, "a", HOUR)

    await schedules.set_schedules([declared("a", call="another")])

    after = await state_of(schedules, "a")
    assert (after.due, after.moment, after.since) == (before.due, before.moment, before.since)
    assert after.sealed == declared("a", call="another").sealed


async def test_what_is_set_again_with_other_moments_counts_from_now_on(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    before = await plan(schedules, "a", HOUR)

    await schedules.set_schedules([declared("a", "daily")])

    after = await state_of(schedules, "a")
    assert after.moment == UNPLANNED
    assert before.since <= after.since == after.due < before.due


async def test_code_that_declares_a_schedule_is_not_overruled_at_run_time(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)

    assert await schedules.set_schedules([declared("a", "daily"), declared("b")]) == ["a"]

    assert (await state_of(schedules, "a")).by == "shop"
    assert await names(schedules) == ["a", "b"]


async def test_a_paused_schedule_is_not_due_and_counts_from_when_it_is_resumed(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    await plan(schedules, "a", -5.0)

    assert await schedules.pause_schedule("a")
    paused = await state_of(schedules, "a")
    assert paused.paused and paused.due == math.inf
    assert (await schedules.due_schedules(10)).due == []
    # A change does not let it run.
    await schedules.set_schedules([declared("a", "daily")])
    assert (await schedules.due_schedules(10)).due == []

    assert await schedules.resume_schedule("a")
    resumed = await state_of(schedules, "a")
    assert not resumed.paused and resumed.moment == UNPLANNED and resumed.since >= paused.paused


async def test_steering_a_schedule_that_is_not_there_says_so(schedules: Schedules) -> None:
    assert not await schedules.pause_schedule("a")
    assert not await schedules.resume_schedule("a")
    assert not await schedules.remove_schedule("a")
    assert await schedules.schedule("a") is None

    await schedules.set_schedules([declared("a")])
    assert await schedules.remove_schedule("a")
    assert await names(schedules) == []
    assert (await schedules.due_schedules(10)).due == []


async def test_schedules_are_listed_page_by_page_those_that_are_due_next_first(schedules: Schedules) -> None:
    await schedules.set_schedules([declared(f"s{n}") for n in range(5)])
    for n in range(5):
        await plan(schedules, f"s{n}", HOUR * (5 - n))
    await schedules.pause_schedule("s4")

    listed: list[str] = []
    while page := await schedules.list_schedules(listed[-1] if listed else "", 2):
        listed += [state.name for state in page]

    assert listed == ["s3", "s2", "s1", "s0", "s4"]


# ---- declared by code


async def test_a_younger_generation_removes_what_its_code_does_not_declare_any_more(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("by hand")])
    await schedules.declare_schedules("other", 100.0, [declared("of another")], removes=True)
    await schedules.declare_schedules("shop", 100.0, [declared("kept"), declared("gone")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("kept"), declared("new")], removes=True)

    assert await names(schedules) == ["by hand", "kept", "new", "of another"]


async def test_one_that_its_declarer_cannot_make_stays_as_it_is(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("kept"), declared("broken")], removes=True)
    before = await state_of(schedules, "broken")

    batch = [declared("kept", "daily"), Declaration("broken"), Declaration("never there")]
    assert await schedules.declare_schedules("shop", 200.0, batch, removes=True) == []
    assert await names(schedules) == ["broken", "kept"]
    assert await state_of(schedules, "broken") == before

    await schedules.declare_schedules("shop", 300.0, [declared("kept")], removes=True)
    assert await names(schedules) == ["kept"]


async def test_an_older_generation_has_no_say(schedules: Schedules) -> None:
    """A recycled process of an old release does not bring its schedules back."""
    await schedules.declare_schedules("shop", 100.0, [declared("old"), declared("both")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("both", "daily")], removes=True)
    younger = await state_of(schedules, "both")

    await schedules.declare_schedules("shop", 100.0, [declared("old"), declared("both")], removes=True)

    assert await names(schedules) == ["both"]
    assert await state_of(schedules, "both") == younger


async def test_a_rollback_wins_since_it_was_started_later(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("old")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [declared("new")], removes=True)
    await schedules.declare_schedules("shop", 300.0, [declared("old")], removes=True)

    assert await names(schedules) == ["old"]


async def test_of_one_generation_the_first_declaration_stays(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a"), declared("b")], removes=True)
    before = await state_of(schedules, "a")

    await schedules.declare_schedules("shop", 100.0, [declared("a", "daily"), declared("c")], removes=True)

    assert await state_of(schedules, "a") == before
    assert await names(schedules) == ["a", "b", "c"]


async def test_a_deploy_that_changes_nothing_keeps_the_next_run(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    before = await plan(schedules, "a", HOUR)

    await schedules.declare_schedules("shop", 200.0, [declared("a", call="of the new release")], removes=True)

    after = await state_of(schedules, "a")
    assert (after.due, after.moment) == (before.due, before.moment)
    assert after.sealed == declared("a", call="of the new release").sealed


async def test_a_due_run_of_the_old_moments_comes_before_the_change(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    due = await plan(schedules, "a", -5.0)

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True) == ["a"]
    assert await state_of(schedules, "a") == due
    assert await schedules.fire([Fire(due, due.due + HOUR, due.due + HOUR, due.moment, [a_push("run")])]) == [True]

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True) == []
    assert (await state_of(schedules, "a")).moment == UNPLANNED


async def test_a_due_run_that_no_keeper_can_send_does_not_stop_a_deploy_for_ever(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    await plan(schedules, "a", -5.0)

    assert await schedules.declare_schedules("shop", 200.0, [declared("a", "daily")], removes=True, force=True) == []
    assert (await state_of(schedules, "a")).sealed == declared("a", "daily").sealed


async def test_a_worker_in_a_loop_only_adds(schedules: Schedules) -> None:
    """A laptop does not end the schedules of production."""
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    before = await state_of(schedules, "a")

    await schedules.declare_schedules("in-loop", 0.0, [declared("a", "daily"), declared("mine")], removes=False)
    assert await state_of(schedules, "a") == before
    assert await names(schedules) == ["a", "mine"]

    # What it has added it may change, and a service takes it over.
    await schedules.declare_schedules("in-loop", 0.0, [declared("mine", call="again")], removes=False)
    assert (await state_of(schedules, "mine")).sealed == declared("mine", call="again").sealed
    await schedules.declare_schedules("shop", 50.0, [declared("mine")], removes=True)
    assert (await state_of(schedules, "mine")).by == "in-loop"
    await schedules.declare_schedules("shop", 200.0, [declared("a"), declared("mine")], removes=True)
    assert (await state_of(schedules, "mine")).by == "shop"


async def test_code_without_schedules_removes_those_that_it_had(schedules: Schedules) -> None:
    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    await schedules.declare_schedules("shop", 200.0, [], removes=True)
    assert await names(schedules) == []

    await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    assert await names(schedules) == []


async def test_nothing_is_declared_beside_a_worker_of_an_older_release(
    another_broker: MakeBroker, schedules: Schedules
) -> None:
    if schedules.url.startswith("memory"):
        pytest.skip("a memory broker has workers of one release")
    old = another_broker()
    await old.enlist("attic.1", "attic", msgspec.msgpack.encode({"host": "attic", "release": 1}))

    with pytest.raises(BrokerError, match=r'"attic".* does not know schedules'):
        await schedules.declare_schedules("shop", 100.0, [declared("a")], removes=True)
    with pytest.raises(BrokerError, match='"attic"'):
        await schedules.set_schedules([declared("a")])


# ---- runs


async def test_a_run_is_sent_once_whoever_asks(
    schedules: Schedules, another_broker: MakeBroker, worker: Worker
) -> None:
    await schedules.set_schedules([declared("a")])
    due = await plan(schedules, "a", -1.0)
    keepers = [schedules_of(another_broker()) for _ in range(3)]

    fires = [Fire(due, due.due + HOUR, due.due + HOUR, due.moment, [a_push(f"run-{n}")]) for n in range(3)]
    answers = await asyncio.gather(*(keeper.fire([fire]) for keeper, fire in zip(keepers, fires, strict=True)))

    assert sorted(answers) == [[False], [False], [True]]
    assert len(await drain(worker)) == 1
    after = await state_of(schedules, "a")
    assert (after.runs, after.last, after.moment) == (1, due.moment, due.due + HOUR)


async def test_a_run_that_is_not_due_is_not_sent(schedules: Schedules, worker: Worker) -> None:
    await schedules.set_schedules([declared("a")])
    later = await plan(schedules, "a", HOUR)

    assert await schedules.fire([Fire(later, 2 * later.due, 2 * later.due, later.moment, [a_push("run")])]) == [False]
    assert await drain(worker) == []


async def test_a_schedule_that_has_changed_meanwhile_is_left_alone(schedules: Schedules, worker: Worker) -> None:
    await schedules.set_schedules([declared(name) for name in ("changed", "paused", "removed", "same")])
    due = {name: await plan(schedules, name, -1.0) for name in ("changed", "paused", "removed", "same")}

    await schedules.set_schedules([declared("changed", call="another")])
    await schedules.pause_schedule("paused")
    await schedules.remove_schedule("removed")

    at = due["same"].due + HOUR
    fires = [Fire(state, at, at, state.moment, [a_push(f"run {name}")]) for name, state in due.items()]
    assert await schedules.fire(fires) == [False, False, False, True]
    assert await drain(worker) == ["run same"]


async def test_a_job_that_is_unfinished_is_not_sent_again(broker: Broker, schedules: Schedules, worker: Worker) -> None:
    await schedules.set_schedules([declared("a")])
    due = await plan(schedules, "a", -1.0)
    await send(broker, "run-1")

    assert await schedules.fire([Fire(due, due.due + HOUR, due.due + HOUR, due.moment, [a_push("run-1")])]) == [True]
    assert await drain(worker) == ["run-1"]


async def test_the_job_of_a_run_expires_by_the_clock_of_the_broker(schedules: Schedules, worker: Worker) -> None:
    await schedules.set_schedules([declared("a")])
    due = await plan(schedules, "a", -1.0)
    at = due.due + 2 * HOUR
    jobs = [
        a_push("relative", special=Special(expires=-HOUR)),
        a_push("moment", special=Special(expires=at)),
        a_push("plain"),
    ]

    assert await schedules.fire([Fire(due, at, at, due.moment, jobs)]) == [True]

    relative, moment, plain = await cast("Expiry", schedules).seconds_left(["relative", "moment", "plain"])
    assert relative is not None and HOUR - 60 < relative <= HOUR
    assert moment is not None and 2 * HOUR - 60 < moment <= 2 * HOUR
    assert plain is None
    assert await drain(worker) == ["relative", "moment", "plain"]


async def test_what_expires_and_what_is_due_of_schedules_is_told_together(broker: Broker, schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    await plan(schedules, "a", HOUR)
    await send(broker, *(a_push(f"gone-{n}", special=Special(expires=1.0)) for n in range(3)))

    await schedules.promote()

    assert sorted(job.id for job in cast("Expiry", schedules).expired) == ["gone-0", "gone-1", "gone-2"]
    due = schedules.schedules_due
    assert due is not None and HOUR - 60 < due.until <= HOUR


async def test_a_job_with_a_key_is_not_sent_while_its_outcome_is_kept(
    broker: Broker, schedules: Schedules, worker: Worker
) -> None:
    await schedules.set_schedules([declared("a")])
    await send(broker, a_push("00key", custom=True))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery)
    due = await plan(schedules, "a", -1.0)

    run = a_push("00key", custom=True)
    assert await schedules.fire([Fire(due, due.due + HOUR, due.due + HOUR, due.moment, [run])]) == [True]
    assert await drain(worker) == []


async def test_jobs_of_runs_go_to_the_lanes_of_their_queues(broker: Broker, schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    due = await plan(schedules, "a", -1.0)
    jobs = [a_push("last", "mail", 9), a_push("first", "mail", 0)]

    assert await schedules.fire([Fire(due, due.due + HOUR, due.due + HOUR, due.moment, jobs)]) == [True]

    assert await status_of(broker, "last") is Status.PENDING
    postman = await Worker(broker, "post.1", ["mail"]).enlist()
    assert await drain(postman) == ["first", "last"]
    assert (await state_of(schedules, "a")).runs == 2


async def test_what_is_due_is_seen_by_promote(broker: Broker, schedules: Schedules) -> None:
    await broker.promote()
    assert schedules.schedules_due is None

    await schedules.set_schedules([declared("a")])
    await plan(schedules, "a", HOUR)
    await broker.promote()

    due = schedules.schedules_due
    assert due is not None and HOUR - 60 < due.until <= HOUR
    assert abs(due.time - (await schedules.due_schedules(0)).time) < 60


async def test_schedules_that_are_due_are_read_beyond_those_that_are_left_alone(schedules: Schedules) -> None:
    await schedules.set_schedules([declared(f"s{n}") for n in range(4)])
    for n in range(4):
        await plan(schedules, f"s{n}", n - 10.0)

    assert [state.name for state in (await schedules.due_schedules(2)).due] == ["s0", "s1"]
    assert [state.name for state in (await schedules.due_schedules(2, skip=2)).due] == ["s2", "s3"]


async def test_runs_beyond_their_horizon_are_strays(schedules: Schedules) -> None:
    batch = [declared("every", horizon=30.0), declared("near", horizon=2 * HOUR), declared("cron")]
    await schedules.set_schedules([*batch, declared("paused", horizon=30.0)])
    for name in ("every", "near", "cron"):
        await plan(schedules, name, HOUR)
    await schedules.pause_schedule("paused")

    page = await schedules.stray_schedules()

    assert [state.name for state in page.schedules] == ["every"]
    assert page.after is None
