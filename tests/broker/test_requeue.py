"""requeue: a job goes back to be released, retried, moved or parked."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, JobState, Liveness, Notice, Settled
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from ..seam import (
    WORN,
    MakeBroker,
    Worker,
    a_push,
    drain,
    ids,
    listening,
    park,
    promoted_all,
    requeue,
    sealed_outcome,
    send,
    status_of,
    take,
)


async def test_a_released_job_comes_first_and_as_it_was(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "released")
    await send(broker, a_push("urgent", priority=0))

    assert await worker.requeue(delivery) is Settled.DONE

    assert await status_of(broker, "released") is Status.PENDING
    again, urgent = (await worker.claim()).deliveries
    assert (again.id, again.sealed, again.meta) == ("released", delivery.sealed, Meta())
    assert (again.lane, again.entry) != (delivery.lane, delivery.entry)
    assert urgent.id == "urgent"


async def test_a_job_that_is_retried_later_comes_back_first_when_it_is_due(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "retried")

    await worker.requeue(delivery, meta=Meta(attempt=2), delay=0.01)

    assert await status_of(broker, "retried") is Status.RETRYING
    assert ids(await worker.claim()) == []
    await send(broker, a_push("urgent", priority=0))
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    again, urgent = (await worker.claim()).deliveries
    assert (again.id, again.sealed, again.meta) == ("retried", delivery.sealed, Meta(attempt=2))
    assert urgent.id == "urgent"


async def test_promote_says_when_the_next_retry_is_due(broker: Broker, worker: Worker) -> None:
    await worker.requeue(await take(worker, "a"), meta=Meta(attempt=2), delay=600.0)

    moved, until = await broker.promote()

    assert moved == 0
    assert until is not None and 500 < until <= 600


async def test_the_counters_of_a_job_survive_every_way(broker: Broker, worker: Worker) -> None:
    await worker.requeue(await take(worker, "a"), meta=WORN, delay=0.01)
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    [due] = (await worker.claim()).deliveries
    assert due.meta == WORN

    await worker.requeue(due, need="task:x")
    worker.needs = ["task:x"]
    [parked] = (await worker.claim()).deliveries
    assert parked.meta == WORN

    await worker.requeue(parked)
    [released] = (await worker.claim()).deliveries
    assert released.meta == WORN
    assert (await worker.adopt())[0].meta == WORN


async def test_a_job_may_go_on_in_another_queue(broker: Broker, worker: Worker, other: Worker) -> None:
    other.queues = ["mail"]
    await worker.requeue(await take(worker, "a"), queue="mail")  # a queue into which no job was ever sent

    assert ids(await worker.claim()) == []
    assert ids(await other.claim()) == ["a"]

    await broker.recover(other.name)
    worker.queues = ["mail"]
    assert ids(await worker.claim()) == ["a"]


async def test_a_parked_job_waits_for_a_worker_that_offers_what_it_needs(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await park(worker, "a", "task:shop.tasks:render")

    assert await broker.status(["a"]) == [JobState(Status.PARKED, need="task:shop.tasks:render")]
    assert ids(await worker.claim()) == []
    worker.needs = ["task:other", "python:3.11"]
    assert ids(await worker.claim()) == []

    other.needs = ["python:3.11", "task:shop.tasks:render"]
    [delivery] = (await other.claim()).deliveries
    assert delivery.id == "a"
    assert await broker.status(["a"]) == [JobState(Status.RUNNING)]
    assert await other.finish(delivery) is Settled.DONE


async def test_a_worker_can_ask_what_is_parked(broker: Broker, worker: Worker) -> None:
    await park(worker, "a", "task:x")
    await park(worker, "b", "python:3.11")

    assert await broker.parked(["task:y", "python:3.11", "task:x"]) == ["python:3.11", "task:x"]
    assert await broker.parked([]) == []


@pytest.mark.parametrize("need", ["task:s", "task:shop.tasks:s", "task:r", "task:0"])
async def test_the_name_of_a_need_never_makes_a_suspect(worker: Worker, need: str) -> None:
    await park(worker, "a", need)
    worker.needs = [need]

    [delivery] = (await worker.claim()).deliveries

    assert not delivery.suspect
    await worker.requeue(delivery)
    assert ids(await worker.claim()) == ["a"]


async def test_the_caller_is_told_to_look_when_its_job_is_parked(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    async with listening(broker, "client") as client, listening(another_broker(), "watcher") as watcher:
        delivery = await take(worker, "a")
        await broker.status(["a"], "watcher")
        await worker.requeue(delivery, need="task:x", reply="client")

        await wait_until_async(lambda: client.notices and watcher.notices, description="both are notified")
        assert client.notices == watcher.notices == [Notice("a", None)]

        worker.needs = ["task:x"]
        [delivery] = (await worker.claim()).deliveries
        await worker.finish(delivery)
        await wait_until_async(lambda: len(watcher.notices) == 2, description="the watcher hears the end too")


async def test_a_second_requeue_is_refused_or_was_done_before(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.requeue(delivery)

    assert await worker.requeue(delivery) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, repeat=True) is Settled.BEFORE
    assert await drain(worker) == ["a"]


async def test_a_requeue_after_the_end_changes_nothing(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await worker.finish(delivery)

    assert await worker.requeue(delivery) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, delay=0.001) is Settled.NOT_YOURS
    assert await worker.requeue(delivery, need="task:x") is Settled.NOT_YOURS
    assert await broker.promote() == (0, None)
    assert await broker.status(["a"]) == [JobState(outcome=sealed_outcome("a"))]


async def test_a_batch_of_requeues_is_answered_one_by_one(broker: Broker, worker: Worker) -> None:
    gone, fine = [await take(worker, name) for name in ("gone", "fine")]
    await worker.finish(gone)

    answer = await broker.requeue(worker.name, [requeue(gone), requeue(fine)])
    assert answer == ([Settled.NOT_YOURS, Settled.DONE], Liveness.LIVE)

    await broker.recover(worker.name)
    assert await broker.requeue(worker.name, []) == ([], Liveness.DEAD)


async def test_a_surplus_goes_behind_what_waits_with_its_priority(broker: Broker, worker: Worker) -> None:
    first = await take(worker, "first")
    await send(broker, "second", "third")

    await worker.requeue(first, behind=5)

    assert await drain(worker) == ["second", "third", "first"]
