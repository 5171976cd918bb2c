"""claim: which jobs a worker gets, in which order, and how many."""

from __future__ import annotations

import asyncio

import pytest

from aiotask.broker import BATCH_JOBS, Broker, JobState, Liveness
from aiotask.job import Status

from ..seam import MakeBroker, Worker, a_push, drain, ids, park, send, status_of, take


async def test_jobs_come_by_priority_and_then_by_age(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"{priority}-{n}", priority=priority) for n in (0, 1) for priority in (9, 5, 0, 4)))

    assert await drain(worker) == ["0-0", "0-1", "4-0", "4-1", "5-0", "5-1", "9-0", "9-1"]


async def test_priority_counts_across_queues(broker: Broker, worker: Worker) -> None:
    worker.queues = ["images", "mail"]
    await send(broker, a_push("i5", "images", 5), a_push("m5", "mail", 5), a_push("m1", "mail", 1))
    await send(broker, a_push("i9", "images", 9), a_push("i1", "images", 1))

    assert await drain(worker) == ["i1", "m1", "i5", "m5", "i9"]


async def test_returned_jobs_of_every_queue_come_before_parked_and_fresh_ones(broker: Broker, worker: Worker) -> None:
    await park(worker, "parked", "task:x")
    returned = await take(worker, "returned")
    await send(broker, a_push("urgent", "images", 0))
    await worker.requeue(returned, queue="mail")
    worker.queues, worker.needs = ["images", "mail"], ["task:x"]

    assert await drain(worker) == ["returned", "parked", "urgent"]


async def test_by_queue_a_claim_takes_queue_after_queue_and_each_by_priority(broker: Broker, worker: Worker) -> None:
    await park(worker, "parked", "task:x")
    returned = await take(worker, "returned")
    await worker.requeue(returned, queue="mail")
    await send(broker, a_push("i5", "images", 5), a_push("m5", "mail", 5), a_push("m1", "mail", 1))
    await send(broker, a_push("i9", "images", 9), a_push("i1", "images", 1))
    worker.queues, worker.needs = ["images", "mail"], ["task:x"]
    broker.by_queue = True

    assert ids(await worker.claim(3)) == ["parked", "i1", "i5"]
    await send(broker, a_push("i7", "images", 7))
    assert await drain(worker) == ["i7", "i9", "returned", "m1", "m5"]


async def test_by_queue_a_wait_brings_jobs_of_any_queue(broker: Broker, worker: Worker) -> None:
    worker.queues, broker.by_queue = ["images", "mail"], True
    await send(broker, a_push("m5", "mail", 5))

    assert (await worker.wait_for_job()).id == "m5"


@pytest.mark.trap("count per stream")
async def test_a_claim_brings_no_more_than_its_limit(broker: Broker, worker: Worker) -> None:
    await send(broker, *(a_push(f"job-{n}", priority=n) for n in range(6)))

    assert ids(await worker.claim(0)) == []
    assert ids(await worker.claim(4)) == ["job-0", "job-1", "job-2", "job-3"]
    assert ids(await worker.claim(4)) == ["job-4", "job-5"]


@pytest.mark.trap("large script")
async def test_a_claim_brings_a_whole_batch_at_most(broker: Broker, worker: Worker) -> None:
    await send(broker, *(f"job-{n}" for n in range(BATCH_JOBS + 10)))

    assert len((await worker.claim(10_000)).deliveries) == BATCH_JOBS
    assert len((await worker.claim(10_000)).deliveries) == 10


@pytest.mark.trap("large script")
async def test_large_jobs_come_in_several_claims_and_none_is_left(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(12)]
    await send(broker, *(a_push(name, body=bytes(100_000)) for name in names))

    first = ids(await worker.claim())

    assert 1 <= len(first) < len(names)
    assert first + await drain(worker) == names


async def test_a_claim_leaves_other_queues_alone(broker: Broker, worker: Worker, other: Worker) -> None:
    other.queues = ["mail"]
    await send(broker, a_push("mine"), a_push("theirs", "mail"))

    assert await drain(worker) == ["mine"]
    assert await drain(other) == ["theirs"]


async def test_a_job_is_lent_to_one_worker(another_broker: MakeBroker) -> None:
    workers = [await Worker(another_broker(), f"host.{n}").enlist() for n in range(4)]
    names = [f"job-{n}" for n in range(200)]
    await send(another_broker(), *names)

    claims = await asyncio.gather(*(worker.claim(7) for _ in range(10) for worker in workers))

    claimed = [id for claim in claims for id in ids(claim)]
    assert sorted(claimed) == sorted(names)


async def test_a_claimed_job_is_running(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b")
    await worker.claim(1)

    assert await broker.status(["a", "b", "c"]) == [JobState(Status.RUNNING), JobState(Status.PENDING), JobState()]


async def test_an_incarnation_that_never_enlisted_gets_nothing(broker: Broker) -> None:
    await send(broker, "a")

    claim = await Worker(broker, "host.1").claim()

    assert claim.deliveries == []
    assert claim.liveness is Liveness.FORGOTTEN
    assert await status_of(broker, "a") is Status.PENDING


@pytest.mark.trap("read of the dead")
async def test_a_dead_incarnation_gets_nothing(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, "a")
    await broker.recover(worker.name)

    claim = await worker.claim()

    assert claim.deliveries == []
    assert claim.liveness is Liveness.DEAD
    assert (await worker.claim(alone=True)).liveness is Liveness.DEAD
    assert ids(await other.claim()) == ["a"]


async def test_a_claim_says_how_long_the_oldest_job_of_each_lane_has_waited(broker: Broker, worker: Worker) -> None:
    await park(worker, "parked", "task:x")
    worker.queues, worker.needs = ["default", "mail"], ["task:x"]
    await send(broker, "a", a_push("b", priority=1), *(a_push(f"mail-{n}", "mail") for n in range(3)))

    claim = await worker.claim()

    assert len(claim.deliveries) == 6
    if broker.url.startswith("sqlite"):
        assert claim.waits == (), "the example of docs/brokers.md does not know"
        return
    assert sorted(queue for queue, _ in claim.waits) == ["default", "default", "mail"]
    assert all(0.0 <= seconds < 600 for _, seconds in claim.waits)
    assert list((await worker.claim()).waits) == []
