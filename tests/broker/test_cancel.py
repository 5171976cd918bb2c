"""cancel: a job that waits ends at once, a running one is marked."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, Cancelled, JobState, Notice, Settled
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import (
    GONE,
    MakeBroker,
    Worker,
    a_push,
    drain,
    ids,
    is_unknown,
    listening,
    outcome_of,
    sealed_outcome,
    send,
    status_of,
    suspect,
    take,
)


@pytest.mark.parametrize("where", ["pending", "scheduled", "retrying", "parked", "returned", "suspect"])
async def test_a_job_that_has_not_started_is_cancelled_at_once(
    broker: Broker, worker: Worker, another_broker: MakeBroker, where: str
) -> None:
    job = a_push("a", reply="sender", delay=3600.0 if where == "scheduled" else 0.0)
    if where == "suspect":
        await suspect(broker, job, "host.2")
    else:
        await send(broker, job)
    if where in ("retrying", "parked", "returned"):
        [delivery] = (await worker.claim()).deliveries
        delay, need = 3600.0 if where == "retrying" else 0.0, "task:x" if where == "parked" else ""
        await worker.requeue(delivery, delay=delay, need=need)
    worker.needs = ["task:x"]
    async with listening(broker, "sender") as sender, listening(another_broker(), "watcher") as watcher:
        await broker.status(["a"], "watcher")

        assert await broker.cancel("a", GONE, 60.0) is Cancelled.DONE

        await wait_until_async(lambda: sender.notices and watcher.notices, description="both are notified")
        assert sender.notices == watcher.notices == [Notice("a", GONE)]
    assert await broker.status(["a"]) == [JobState(outcome=GONE)]
    assert await broker.promote() == (0, None)
    assert await drain(worker) == []
    assert ids(await worker.claim(alone=True)) == []


async def test_the_outcome_of_a_cancelled_job_is_kept_for_its_time(broker: Broker, worker: Worker) -> None:
    await send(broker, "brief", "unstored")

    assert await broker.cancel("brief", GONE, 0.05) is Cancelled.DONE
    assert await broker.cancel("unstored", GONE, 0.0) is Cancelled.DONE

    assert await is_unknown(broker, "unstored")
    await wait_until_async(lambda: is_unknown(broker, "brief"), description="the outcome has expired")
    assert await broker.cancel("brief", GONE, 60.0) is Cancelled.UNKNOWN


async def test_a_running_job_is_marked_and_its_worker_can_see_it(broker: Broker, worker: Worker) -> None:
    await send(broker, "a", "b")
    await worker.claim()

    assert await broker.cancels(worker.name, ["b", "a"]) == [None, None]
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.ASKED
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.ASKED

    assert await broker.cancels(worker.name, ["b", "a", "no-such"]) == [None, GONE, None]
    assert await broker.cancels(worker.name, []) == []
    assert await status_of(broker, "a") is Status.RUNNING


async def test_a_finish_that_comes_before_the_worker_sees_the_mark_wins(broker: Broker, worker: Worker) -> None:
    delivery = await take(worker, "a")
    await broker.cancel("a", GONE, 60.0)

    assert await worker.finish(delivery) is Settled.DONE

    assert await outcome_of(broker, "a") == sealed_outcome("a")
    assert await broker.cancels(worker.name, ["a"]) == [None]
    assert await broker.cancel("a", GONE, 60.0) is Cancelled.FINISHED
    assert await outcome_of(broker, "a") == sealed_outcome("a")


@pytest.mark.parametrize("how", [{}, {"delay": 3600.0}, {"need": "task:x"}], ids=["release", "retry", "park"])
async def test_a_marked_job_does_not_go_on(
    broker: Broker, worker: Worker, another_broker: MakeBroker, how: dict[str, object]
) -> None:
    worker.needs = ["task:x"]
    await send(broker, a_push("a", reply="sender"))
    [delivery] = (await worker.claim()).deliveries
    async with listening(broker, "sender") as sender, listening(another_broker(), "watcher") as watcher:
        await broker.status(["a"], "watcher")
        await broker.cancel("a", GONE, 60.0)

        assert await worker.requeue(delivery, reply="sender", **how) is Settled.DONE

        await wait_until_async(lambda: sender.notices and watcher.notices, description="both are notified")
        assert sender.notices == watcher.notices == [Notice("a", GONE)]
    assert await broker.status(["a"]) == [JobState(outcome=GONE)]
    assert await broker.cancels(worker.name, ["a"]) == [None]
    assert await broker.promote() == (0, None)
    assert await drain(worker) == []


async def test_a_marked_job_whose_worker_dies_is_cancelled(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, a_push("a", reply="client"), "b", "c")
    await worker.claim()
    async with listening(broker, "client") as client:
        await broker.status(["b"], "client")
        await broker.cancel("a", GONE, 60.0)
        await broker.cancel("b", GONE, 60.0)

        await broker.recover(worker.name, blame=["b"], reason="killed by SIGSEGV")

        await wait_until_async(lambda: len(client.notices) == 2, description="both are notified")
    assert await broker.status(["a", "b", "c"]) == [
        JobState(outcome=GONE),
        JobState(outcome=GONE),
        JobState(Status.PENDING),
    ]
    assert await drain(other) == ["c"]


async def test_what_is_unknown_cannot_be_cancelled(broker: Broker) -> None:
    assert await broker.cancel("no-such", GONE, 60.0) is Cancelled.UNKNOWN
    assert await is_unknown(broker, "no-such")
