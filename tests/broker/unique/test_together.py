"""Unique jobs where other features meet them: limits and schedules."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aiotask.broker import Broker, Push, Special
from aiotask.brokers import inspect
from aiotask.brokers.limits import Limits
from aiotask.brokers.schedules import Declaration, Fire, Schedules
from aiotask.job import RELEASE, Job, More, Status, encode_job
from aiotask.values.limit import LimitSpec
from aiotask.values.unique import Rule
from aiotask.wire.seal import Sealer

from ...seam import Worker, a_push, finish, ids, status_of
from .calls import call, name, push, state_of

HOUR = 3600.0

_jobs = Sealer(["test"], "job")


@pytest.fixture
async def limits(broker: Broker) -> Limits:
    limits = cast("Limits", broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", max_running=1)])
    return limits


def limited(tail: str, key: str = "k", *, policy: str = "unfinished", answer: str = "replace", **options: Any) -> Push:
    """A unique call under a limit."""
    rule = Rule(policy, answer, 0.0, options.pop("max_wait", 0.0), HOUR)
    job = Job(
        RELEASE, name(tail, key), "shop.tasks:render", "default", b"", 5, more=More(limit="api:", unique=str(rule))
    )
    special = Special(limit="api:", unique=rule)
    return Push(job.id, "default", 5, _jobs.seal(encode_job(job)), special=special, **options)


async def end_one(worker: Worker) -> str:
    [delivery] = (await worker.claim()).deliveries
    await worker.broker.finish_special(worker.name, [finish(delivery, special=True)])  # type: ignore[attr-defined]
    return delivery.id


async def test_a_job_that_waits_in_its_line_is_the_one_that_another_call_means(limits: Limits, worker: Worker) -> None:
    await push(limits, limited("holder", "other"), limited("a"))

    said = await push(limits, limited("b", answer="existing"))

    assert said is not None and said.known == {name("b"): name("a")}
    assert [await end_one(worker), await end_one(worker)] == [name("holder", "other"), name("a")]
    assert await push(limits, limited("c")) is None
    assert await end_one(worker) == name("c")


async def test_a_job_that_is_replaced_in_its_line_leaves_it(limits: Limits, worker: Worker) -> None:
    await push(limits, limited("holder", "other"), limited("a"), limited("last", "third"))

    assert await push(limits, limited("b")) is None

    stats = await inspect(limits).stats(max_age=0.0)
    assert (stats.pending, stats.replaced, stats.sent) == (3, 1, 4)
    assert (await state_of(limits, name("a"))).same == name("b")
    assert [await end_one(worker) for _ in range(3)] == [name("holder", "other"), name("last", "third"), name("b")]
    assert ids(await worker.claim()) == []


async def test_a_job_that_has_waited_as_long_as_it_may_keeps_its_place_in_the_line(
    limits: Limits, worker: Worker
) -> None:
    await push(limits, limited("holder", "other"), limited("a", max_wait=1e-3), limited("last", "third"))

    assert await push(limits, limited("b", max_wait=1e-3)) is None

    assert [await end_one(worker) for _ in range(3)] == [name("holder", "other"), name("b"), name("last", "third")]


async def test_a_job_that_runs_under_a_limit_is_not_replaced(limits: Limits, worker: Worker) -> None:
    await push(limits, limited("a"))
    [a] = (await worker.claim()).deliveries

    said = await push(limits, limited("b"))

    assert said is not None and said.known == {name("b"): a.id}
    assert await status_of(limits, a.id) is Status.RUNNING


# ---- schedules


async def fire(schedules: Schedules, *jobs: Push) -> None:
    await schedules.set_schedules([Declaration("a", b"s" * 40, b"hourly  ", 0.0)])
    state = await schedules.schedule("a")
    assert state is not None
    # A schedule that was just set is due now.
    assert await schedules.fire([Fire(state, state.due + HOUR, state.due + HOUR, state.last, list(jobs))]) == [True]


async def test_a_run_is_not_sent_while_the_job_of_an_earlier_one_goes_on(broker: Broker, worker: Worker) -> None:
    schedules = cast("Schedules", broker)
    await push(broker, call("run-1"))

    await fire(schedules, call("run-2"), a_push("plain"))

    assert sorted(ids(await worker.claim())) == sorted([name("run-1"), "plain"])
    assert (await state_of(broker, name("run-2"))).same == name("run-1")


async def test_of_two_runs_at_once_the_later_one_replaces_the_other(broker: Broker, worker: Worker) -> None:
    schedules = cast("Schedules", broker)

    await fire(schedules, call("run-1", on_conflict="replace"), call("run-2", on_conflict="replace"))

    assert ids(await worker.claim()) == [name("run-2")]


async def test_a_run_that_is_refused_is_no_job(broker: Broker, worker: Worker) -> None:
    schedules = cast("Schedules", broker)
    await push(broker, call("a"))

    await fire(schedules, call("run-1", on_conflict="error"))

    assert ids(await worker.claim()) == [name("a")]
    assert (await state_of(broker, name("run-1"))).exists == name("a")


async def test_two_runs_with_one_id_are_one_job(broker: Broker, worker: Worker) -> None:
    await fire(cast("Schedules", broker), a_push("00key", custom=True), a_push("00key", custom=True))
    assert ids(await worker.claim()) == ["00key"]
