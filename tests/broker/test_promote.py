"""promote: jobs with a delay or an eta wait until they are due."""

from __future__ import annotations

import time

from aiotask.broker import Broker
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import Worker, a_push, drain, ids, is_pending, promoted_all, send, status_of


async def test_a_delayed_job_is_scheduled_until_it_is_due(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("later", delay=3600.0))

    assert await status_of(broker, "later") is Status.SCHEDULED
    moved, until = await broker.promote()
    assert moved == 0
    assert until is not None and 3500 < until <= 3600
    assert ids(await worker.claim()) == []


async def test_a_due_job_goes_to_the_lane_of_its_priority(broker: Broker, worker: Worker) -> None:
    await send(broker, "early", a_push("first", priority=0, delay=0.02), a_push("last", priority=9, delay=0.01))
    await wait_until_async(lambda: promoted_all(broker), description="both are promoted")

    assert await drain(worker) == ["first", "early", "last"]
    assert await status_of(broker, "first") is Status.RUNNING


async def test_an_eta_wins_over_a_delay(broker: Broker, worker: Worker) -> None:
    eta = time.time() + 3600
    await send(broker, a_push("later", delay=0.001, eta=eta), a_push("sooner", delay=9000.0, eta=time.time() + 0.02))
    await wait_until_async(lambda: is_pending(broker, "sooner"), description="the sooner one is promoted")

    moved, until = await broker.promote()

    assert moved == 0
    assert until is not None and 3500 < until <= 3600
    assert await drain(worker) == ["sooner"]


async def test_an_eta_in_the_past_is_due_at_once(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("late", eta=time.time() - 3600))
    await broker.promote()

    assert await drain(worker) == ["late"]


async def test_promote_moves_the_earliest_up_to_its_limit(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"job-{n}", delay=0.01 + n / 1000) for n in (2, 0, 1)))
    await wait_until_async(lambda: overdue(broker), description="all three are due")

    assert (await broker.promote(limit=2))[0] == 2
    assert await drain(worker) == ["job-0", "job-1"]

    assert await broker.promote(limit=2) == (1, None)
    assert await drain(worker) == ["job-2"]


async def overdue(broker: Broker) -> bool:
    """Whether the next job has been due for 10 ms, so that the others, which follow within 10 ms, are due, too."""
    moved, until = await broker.promote(limit=0)
    assert moved == 0
    return until is not None and until < -0.01


async def test_nothing_is_due_where_nothing_was_delayed(broker: Broker) -> None:
    assert await broker.promote() == (0, None)
