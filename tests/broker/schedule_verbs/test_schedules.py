"""Schedules: set at run time, and each run sent once, whoever asks."""

from __future__ import annotations

import asyncio
import math
from typing import cast

from aiotask.broker import Broker, Special
from aiotask.brokers import schedules_of
from aiotask.brokers.expiry import Expiry
from aiotask.brokers.schedules import UNPLANNED, Fire, Schedules
from aiotask.job import Status

from ...seam import MakeBroker, Worker, a_push, drain, send, status_of
from .kept import HOUR, declared, names, plan, state_of

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


async def test_a_pause_says_who_has_begun_it_and_why_until_it_ends(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a"), declared("b")])

    assert await schedules.pause_schedule("a", "ada@office", "the numbers are wrong")
    [_, listed] = await schedules.list_schedules()
    assert listed == await state_of(schedules, "a")
    assert await schedules.paused_schedules() == [listed]
    assert (listed.paused_by, listed.paused_why) == ("ada@office", "the numbers are wrong")
    # Who pauses it again says who and why; since when stays.
    assert await schedules.pause_schedule("a", "bob@home")
    again = await state_of(schedules, "a")
    assert (again.paused_by, again.paused_why) == ("bob@home", "") and again.paused == listed.paused

    assert await schedules.resume_schedule("a")
    resumed = await state_of(schedules, "a")
    assert (resumed.paused, resumed.paused_by, resumed.paused_why) == (0.0, "", "")
    assert await schedules.paused_schedules() == []


async def test_what_was_removed_while_it_was_paused_is_set_again_without_the_pause(schedules: Schedules) -> None:
    await schedules.set_schedules([declared("a")])
    await schedules.pause_schedule("a", "ada", "why")
    await schedules.remove_schedule("a")

    await schedules.set_schedules([declared("a")])

    state = await state_of(schedules, "a")
    assert (state.paused, state.paused_by, state.paused_why) == (0.0, "", "")


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
