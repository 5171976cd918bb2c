"""Limited jobs of a paused task: they take no slot, and keep their places in their lines."""

from __future__ import annotations

from typing import cast

import pytest

from aiotask.brokers.limits import Limits
from aiotask.brokers.pauses import Pause, Pauses
from aiotask.job import Status

from ...seam import Worker, ids, send, status_of
from .words import Declare, end, limited

RENDER = Pause("task:shop.tasks:render", task="shop.tasks:render")
NEED = RENDER.need_in("default")


@pytest.fixture
def pauses(limits: Limits) -> Pauses:
    return cast("Pauses", limits)


async def park_all(worker: Worker) -> list[str]:
    """Claim and park what is there, as a worker does that knows of the pause."""
    parked: list[str] = []
    while claim := (await worker.claim()).deliveries:
        for delivery in claim:
            await worker.requeue(delivery, need=NEED)
            parked.append(delivery.id)
    return parked


async def run_all(worker: Worker) -> list[str]:
    ran: list[str] = []
    while claim := (await worker.claim()).deliveries:
        ran += ids(claim)
        await end(worker, *claim)
    return ran


async def test_jobs_of_a_task_that_is_resumed_pass_their_limit(
    limits: Limits, pauses: Pauses, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    await pauses.pause(RENDER)
    assert await park_all(worker) == ["job-0", "job-1", "job-2"]
    assert await status_of(limits, "job-0") is Status.PARKED

    assert await pauses.resume(RENDER.id)

    worker.needs = (await pauses.pauses()).resumed
    claim = await worker.claim()
    assert ids(claim) == ["job-0"]
    assert ids(await worker.claim()) == []
    await end(worker, *claim.deliveries)
    assert await run_all(worker) == ["job-1", "job-2"]


async def test_parked_jobs_come_back_to_their_places_before_anything_starts(
    limits: Limits, pauses: Pauses, worker: Worker, declare: Declare
) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(4) for key in "ab"))
    await pauses.pause(RENDER)
    assert len(await park_all(worker)) == 8
    # Those that are sent meanwhile, and the ones that are parked, are of one line.
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(4, 6) for key in "ab"))
    [first, _] = (await worker.claim()).deliveries
    assert first.id == "a-4"

    assert await pauses.resume(RENDER.id)
    # This worker did not know of the end.
    await worker.requeue(first, need=NEED)

    assert (await pauses.pauses()).resumed == []
    ran = await run_all(worker)
    assert [id for id in ran if id.startswith("a")] == [f"a-{n}" for n in range(6)]


async def test_a_parked_job_takes_no_slot(limits: Limits, pauses: Pauses, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, limited("parked"), limited("next"))
    await pauses.pause(RENDER)
    [parked] = (await worker.claim()).deliveries
    await worker.requeue(parked, need=NEED)
    assert ids(await worker.claim()) == ["next"]


async def test_jobs_of_a_lane_whose_pause_was_deleted_go_into_their_lines(
    limits: Limits, pauses: Pauses, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    [first] = (await worker.claim()).deliveries
    # A worker that lacks the task.
    await worker.requeue(first, need="task:shop.tasks:render")
    [second] = (await worker.claim()).deliveries
    assert second.id == "job-1"

    other.needs = ("task:shop.tasks:render",)
    [found] = [delivery for delivery in (await other.claim()).deliveries if delivery.id == "job-0"]
    assert limits.was_parked(found) and not limits.was_parked(second)
    await other.requeue(found, limit="api:", priority=5)
    assert await status_of(limits, "job-0") is Status.PENDING
    await worker.requeue(second)
    assert await run_all(worker) == ["job-0", "job-1", "job-2"]


async def test_a_claimed_parked_job_of_a_worker_that_died_goes_to_its_place(
    limits: Limits, worker: Worker, other: Worker, declare: Declare
) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"job-{n}", "a") for n in range(2)))
    [first] = (await worker.claim()).deliveries
    await worker.requeue(first, need="task:shop.tasks:render")
    other.needs = ("task:shop.tasks:render",)
    other.broker.free_seats = 0  # type: ignore[attr-defined]
    assert ids(await other.claim()) == ["job-0"]

    await limits.recover(other.name)

    assert await run_all(worker) == ["job-0", "job-1"]


async def test_a_worker_that_does_not_know_of_a_pause_hears_of_it_with_what_is_admitted(
    limits: Limits, pauses: Pauses, worker: Worker, declare: Declare
) -> None:
    await declare()
    await pauses.pauses()
    await pauses.pause(RENDER)
    await send(limits, limited("first"), "plain")
    assert (await worker.claim()).paused

    await pauses.pauses()
    await send(limits, limited("second"))
    claim = await worker.claim()
    assert (ids(claim), claim.paused) == (["second"], False)
