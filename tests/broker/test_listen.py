"""status and listen: clients and watchers get the outcomes of jobs."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, JobState, Notice
from aiotask.job import Meta

from ..helpers import wait_until_async
from ..seam import MakeBroker, Worker, finish, listening, outcome_of, promoted_all, sealed_outcome, send, take


async def test_whoever_sent_the_job_is_told_the_outcome(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client, listening(broker, "stranger") as stranger:
        await worker.finish(await take(worker, "a"), reply="client")
        await worker.finish(await take(worker, "b"), reply="client")

        await wait_until_async(lambda: len(client.notices) >= 2, description="both are notified")

        assert client.notices == [Notice("a", sealed_outcome("a")), Notice("b", sealed_outcome("b"))]
        assert stranger.notices == []


async def test_every_listener_of_an_address_is_told(broker: Broker, worker: Worker, another_broker: MakeBroker) -> None:
    async with listening(broker, "client") as one, listening(another_broker(), "client") as two:
        await worker.finish(await take(worker, "a"), reply="client")

        await wait_until_async(lambda: one.notices and two.notices, description="both are notified")

        assert one.notices == two.notices == [Notice("a", sealed_outcome("a"))]


async def test_anybody_may_be_told_something(broker: Broker, another_broker: MakeBroker) -> None:
    async with listening(another_broker(), "operator") as operator:
        assert await broker.publish("operator", Notice("é" * 20, b"x" * 100_000))
        assert await broker.publish("operator", Notice("look"))
        assert not await broker.publish("nobody", Notice("lost", b"x"))

        await wait_until_async(lambda: len(operator.notices) >= 2, description="both have come")

        assert operator.notices == [Notice("é" * 20, b"x" * 100_000), Notice("look")]


async def test_whoever_looked_at_an_unfinished_job_is_told_its_outcome(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    await send(broker, "a", "b")
    async with listening(broker, "one") as one, listening(another_broker(), "two") as two:
        await broker.status(["a"], "one")
        await broker.status(["a", "b"], "two")
        await broker.status(["a"], "two")
        for delivery in (await worker.claim()).deliveries:
            await worker.finish(delivery)

        await wait_until_async(lambda: one.notices and two.notices_of("b"), description="both are notified")

        assert one.notices == [Notice("a", sealed_outcome("a"))]
        assert two.notices == [Notice("a", sealed_outcome("a")), Notice("b", sealed_outcome("b"))]


async def test_a_look_at_a_finished_job_answers_and_watches_nothing(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), reply="")

        assert await broker.status(["a", "no-such"], "client") == [JobState(outcome=sealed_outcome("a")), JobState()]

        await worker.finish(await take(worker, "last"), reply="client")
        await wait_until_async(lambda: client.notices, description="the last one is notified")
        assert [notice.id for notice in client.notices] == ["last"]


async def test_a_watcher_hears_of_a_job_that_took_a_long_way(broker: Broker, worker: Worker, other: Worker) -> None:
    async with listening(broker, "client") as client:
        delivery = await take(worker, "a")
        await broker.status(["a"], "client")
        await worker.requeue(delivery, delay=0.01, meta=Meta(attempt=2))
        await wait_until_async(lambda: promoted_all(broker), description="the retry is promoted")
        await worker.claim()
        await broker.recover(worker.name)
        [last] = (await other.claim()).deliveries

        await other.finish(last)

        await wait_until_async(lambda: client.notices, description="the watcher is notified")
        assert client.notices == [Notice("a", sealed_outcome("a"))]


@pytest.mark.trap("silent loss")
async def test_a_large_outcome_is_told_or_can_be_looked_up(broker: Broker, worker: Worker) -> None:
    large = sealed_outcome("a", value=bytes(2_000_000))
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), outcome=large, reply="client")

        await wait_until_async(lambda: client.notices, description="the client is notified")

        assert client.notices[0].outcome in (None, large)
        assert await outcome_of(broker, "a") == large


async def test_an_outcome_that_is_not_stored_is_told_whole(broker: Broker, worker: Worker) -> None:
    large = sealed_outcome("a", value=bytes(100_000))
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), outcome=large, reply="client", result_ttl=0.0)

        await wait_until_async(lambda: client.notices, description="the client is notified")

        assert client.notices == [Notice("a", large)]


async def test_a_batch_tells_everything_to_everybody(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    names = [f"job-{n}" for n in range(100)]
    await send(broker, *names)
    async with listening(broker, "even") as even, listening(another_broker(), "odd") as odd:
        deliveries = (await worker.claim()).deliveries
        batch = [finish(delivery, reply=("even", "odd")[n % 2]) for n, delivery in enumerate(deliveries)]
        await broker.finish(worker.name, batch)

        await wait_until_async(
            lambda: len(even.notices) + len(odd.notices) == 100, description="every outcome is published"
        )

        assert [notice.id for notice in even.notices] == names[::2]
        assert [notice.id for notice in odd.notices] == names[1::2]


async def test_listening_ends_when_it_is_cancelled(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as gone:
        pass
    async with listening(broker, "client") as client:
        await worker.finish(await take(worker, "a"), reply="client")
        await wait_until_async(lambda: client.notices, description="the listener is notified")

    assert gone.notices == []
