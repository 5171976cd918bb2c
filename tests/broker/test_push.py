"""push: jobs are accepted once and in their order, under the ids that their clients gave them."""

from __future__ import annotations

import pytest

from aiotask.broker import BATCH_JOBS, Broker
from aiotask.brokers.lanes import lane_of
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from ..seam import (
    Worker,
    a_push,
    drain,
    ids,
    is_unknown,
    outcome_of,
    promoted_all,
    sealed_job,
    sealed_outcome,
    send,
    status_of,
)


async def test_a_pushed_job_is_delivered_as_it_was_sealed(broker: Broker, worker: Worker) -> None:
    body = bytes(range(256)) * 4
    await send(broker, a_push("a", body=body))

    [delivery] = (await worker.claim()).deliveries

    assert delivery.id == "a"
    assert delivery.sealed == sealed_job("a", body=body)
    assert delivery.meta == Meta()
    assert delivery.lane == lane_of("default", 5)
    assert not delivery.suspect


async def test_a_full_batch_is_accepted_in_its_order(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(BATCH_JOBS)]
    await broker.push("client", 1, [a_push(name) for name in names])

    assert await drain(worker) == names


async def test_an_empty_batch_is_accepted(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [])

    assert ids(await worker.claim()) == []


@pytest.mark.trap("library repeats")
async def test_a_batch_that_is_sent_again_is_accepted_once(broker: Broker, worker: Worker) -> None:
    batch = [a_push("a"), a_push("b", delay=0.001), a_push("c", priority=0)]
    await broker.push("client", 1, batch)
    await broker.push("client", 1, batch)
    await wait_until_async(lambda: promoted_all(broker), description="nothing is due any more")

    assert sorted(await drain(worker)) == ["a", "b", "c"]


async def test_a_batch_that_is_sent_again_is_a_repeat_even_when_its_jobs_are_finished(
    broker: Broker, worker: Worker
) -> None:
    await broker.push("client", 1, [a_push("a")])
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, result_ttl=0.0)

    await broker.push("client", 1, [a_push("a")])

    assert await drain(worker) == []


async def test_a_batch_older_than_the_last_is_a_repeat(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [a_push("a")])
    await broker.push("client", 2, [a_push("b")])
    await broker.push("client", 1, [a_push("a")])

    assert await drain(worker) == ["a", "b"]


async def test_a_row_of_batches_is_accepted_in_its_order_and_once(broker: Broker, worker: Worker) -> None:
    row = [[a_push("a"), a_push("b")], [a_push("c")], [a_push("d", priority=0)]]
    await broker.push("client", 1, [])
    assert await broker.push_row("client", 2, row) == 3
    assert await broker.push_row("client", 2, row) == 3, "a repeat is accepted"
    assert await broker.push_row("client", 4, [[a_push("d", priority=0)], [a_push("e")]]) == 2, "half a repeat too"
    await broker.push("client", 5, [a_push("e")])

    assert await drain(worker) == ["d", "a", "b", "c", "e"]


async def test_batches_of_a_row_may_be_plain_or_not(broker: Broker, worker: Worker) -> None:
    row = [
        [a_push("a"), a_push("b", priority=0)],
        [a_push("c"), a_push("later", delay=3600.0), a_push("chosen", custom=True)],
        [a_push("d")],
        [a_push("soon", delay=3600.0)],
    ]
    assert await broker.push_row("client", 1, row) == 4
    assert await broker.push_row("client", 1, row) == 4, "a repeat is accepted"
    await broker.push("client", 4, [a_push("soon")])
    await broker.push("client", 3, [a_push("d", delay=3600.0)])

    assert await drain(worker) == ["b", "a", "c", "chosen", "d"]
    for id in ("later", "soon"):
        assert await status_of(broker, id) is Status.SCHEDULED


async def test_each_client_counts_for_itself(broker: Broker, worker: Worker) -> None:
    await broker.push("client", 1, [a_push("a")])
    await broker.push("another", 1, [a_push("b")])

    assert await drain(worker) == ["a", "b"]


@pytest.mark.parametrize("where", ["pending", "claimed", "scheduled", "retrying", "parked"])
async def test_a_custom_id_of_an_unfinished_job_is_that_job(broker: Broker, worker: Worker, where: str) -> None:
    await send(broker, a_push("mine", custom=True, body=b"first", delay=3600.0 if where == "scheduled" else 0.0))
    if where in ("claimed", "retrying", "parked"):
        [delivery] = (await worker.claim()).deliveries
        if where == "retrying":
            await worker.requeue(delivery, delay=3600.0)
        elif where == "parked":
            await worker.requeue(delivery, need="task:x")
    before = await status_of(broker, "mine")

    await send(broker, a_push("mine", custom=True, body=b"second"))

    assert await status_of(broker, "mine") is before
    bodies = [delivery.sealed for delivery in (await worker.claim()).deliveries]
    assert bodies == ([sealed_job("mine", body=b"first")] if where == "pending" else [])


async def test_a_custom_id_twice_in_one_batch_is_one_job(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True, body=b"first"), a_push("mine", custom=True, body=b"second"))

    assert [delivery.sealed for delivery in (await worker.claim()).deliveries] == [sealed_job("mine", body=b"first")]


async def test_a_custom_id_with_a_stored_outcome_is_that_job(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery)

    await send(broker, a_push("mine", custom=True))

    assert await drain(worker) == []
    assert await outcome_of(broker, "mine") == sealed_outcome("mine")


async def test_a_custom_id_is_free_again_when_its_outcome_has_expired(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, result_ttl=0.05)
    await wait_until_async(lambda: is_unknown(broker, "mine"), description="the outcome has expired")

    await send(broker, a_push("mine", custom=True))

    assert await drain(worker) == ["mine"]


async def test_a_custom_id_that_is_known_does_not_hold_up_its_batch(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("mine", custom=True))
    await send(broker, a_push("a"), a_push("mine", custom=True), a_push("b"))

    assert await drain(worker) == ["mine", "a", "b"]
