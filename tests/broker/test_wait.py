"""wait and wake: a worker without jobs gets the next one as soon as it is pushed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from aiotask.broker import Broker, JobState, Liveness, Settled
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import MakeBroker, Worker, a_push, drain, ids, promoted_all, sealed_job, send, suspect, take


async def test_wait_brings_what_is_there(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b", "c")

    brought = await worker.wait_for_job()

    assert [brought.id, *await drain(worker)] == ["a", "b", "c"]
    assert brought.sealed == sealed_job("a")
    assert await worker.finish(brought) is Settled.DONE


async def test_wait_wakes_up_for_a_job_of_any_priority(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    keeper = another_broker()
    for priority in (0, 5, 9):
        waiting = asyncio.create_task(worker.wait_for_job())
        await asyncio.sleep(0)
        await send(keeper, a_push(f"job-{priority}", priority=priority))

        assert (await waiting).id == f"job-{priority}"


async def test_wait_wakes_up_for_a_returned_a_due_and_a_parked_job(
    broker: Broker, other: Worker, another_broker: MakeBroker
) -> None:
    waiter = await Worker(another_broker(), "host.1", needs=["task:x"]).enlist()
    returned, retried, parked = [await take(other, name) for name in ("returned", "retried", "parked")]

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(returned)
    assert (await waiting).id == "returned"

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(parked, need="task:x")
    assert (await waiting).id == "parked"

    waiting = asyncio.create_task(waiter.wait_for_job())
    await other.requeue(retried, delay=0.01)
    await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
    assert (await waiting).id == "retried"


async def test_wait_wakes_up_for_the_jobs_of_the_dead(other: Worker, another_broker: MakeBroker) -> None:
    waiter = await Worker(another_broker(), "host.1").enlist()
    await take(other, "a")

    waiting = asyncio.create_task(waiter.wait_for_job())
    await another_broker().recover(other.name)

    assert (await waiting).id == "a"


async def test_wait_ends_empty_when_its_time_is_over(worker: Worker) -> None:
    claim = await worker.wait(timeout=0.01)

    assert claim.deliveries == []
    assert claim.liveness is Liveness.LIVE


async def test_wait_leaves_other_queues_and_suspects_alone(broker: Broker, worker: Worker) -> None:
    await send(broker, a_push("theirs", "mail"))
    await suspect(broker, "risky", "host.2")
    await worker.wait(timeout=0.01)  # the first call may only have created the lanes

    assert (await worker.wait(timeout=0.01)).deliveries == []
    assert await broker.status(["theirs", "risky"]) == [JobState(Status.PENDING)] * 2


async def test_each_job_wakes_one_waiter(another_broker: MakeBroker) -> None:
    workers = [await Worker(another_broker(), f"host.{n}").enlist() for n in range(3)]
    waits = [asyncio.create_task(worker.wait_for_job()) for worker in workers]

    await send(another_broker(), "a", "b", "c")

    assert sorted(delivery.id for delivery in await asyncio.gather(*waits)) == ["a", "b", "c"]


async def test_wake_ends_a_wait(broker: Broker, worker: Worker) -> None:
    waiting = asyncio.create_task(worker.wait(timeout=3600.0))

    async def woken() -> bool:
        await broker.wake()
        return waiting.done()

    await wait_until_async(woken, description="the wait has ended")
    assert (await waiting).deliveries == []

    await send(broker, "a")
    assert (await worker.wait_for_job()).id == "a"


async def test_wake_without_a_wait_does_nothing(broker: Broker, worker: Worker) -> None:
    await broker.wake()
    await send(broker, "a")

    assert (await worker.wait_for_job()).id == "a"
    await broker.wake()


@pytest.mark.trap("cancelled read")
async def test_a_wait_that_was_cancelled_loses_nothing(broker: Broker, worker: Worker) -> None:
    waiting = asyncio.create_task(worker.wait(timeout=3600.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting

    await send(broker, "a")

    async def holds_it() -> bool:
        await worker.claim()
        return ids(await worker.adopt()) == ["a"]

    await wait_until_async(holds_it, description="the worker holds the job")
