"""Connections to the server die, or the server pauses, while verbs are under way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.exceptions import BusyLoadingError

from aiotask.broker import Broker, Claim, Delivery, JobState, Notice, Settled
from aiotask.brokers import connect
from aiotask.brokers.redis.broker import RedisBroker
from aiotask.brokers.redis.connection import Wire
from aiotask.errors import ConnectionLost
from aiotask.job import Status

from ...helpers import wait_until_async
from ...seam import WORN, Worker, a_push, drain, finish, ids, listening, sealed_outcome, send, take
from ...server import PrivateServer, is_blocked


@pytest.mark.trap("stranded in the living")
async def test_a_storm_of_killed_connections_loses_and_doubles_nothing(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    names = [f"job-{n:03}" for n in range(400)]
    finished: list[str] = []

    async def push_all() -> None:
        for sequence, start in enumerate(range(0, len(names), 4), start=1):
            batch = [a_push(name) for name in names[start : start + 4]]
            while True:
                with contextlib.suppress(ConnectionLost):
                    await broker.push("client", sequence, batch)
                    break

    async def work() -> None:
        held: dict[str, Delivery] = {}
        repeat = False
        while len(finished) < len(names):
            try:
                if not held:
                    held = {delivery.entry: delivery for delivery in (await worker.wait(1.0)).deliveries}
                batch = list(held.values())
                settled, _ = await worker.broker.finish(
                    worker.name, [finish(delivery) for delivery in batch], repeat=repeat
                )
                assert Settled.NOT_YOURS not in settled
                finished.extend(delivery.id for delivery in batch)
                held, repeat = {}, False
            except ConnectionLost:
                with contextlib.suppress(ConnectionLost):
                    held |= {delivery.entry: delivery for delivery in await worker.adopt()}
                repeat = True

    async def storm() -> None:
        while True:
            own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            # The pause is long enough now and then for a slow machine to make progress.
            await asyncio.sleep(random.expovariate(100))

    killing = asyncio.create_task(storm())
    async with asyncio.timeout(100):
        await asyncio.gather(push_all(), work())
    killing.cancel()

    assert sorted(finished) == names, "each job was accepted once and finished once"
    assert await drain(worker) == []
    assert await worker.adopt() == []


async def test_a_waiter_whose_connection_is_killed_goes_on_waiting(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    await worker.wait(0.01)  # makes the lanes
    waiting = asyncio.create_task(worker.wait(60.0))
    await is_blocked(own_server)

    own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    with pytest.raises(ConnectionLost):
        await waiting
    with contextlib.suppress(ConnectionLost):
        await send(broker, "a")  # its own connection was killed too
    await send(broker, "b")
    assert (await worker.wait_for_job()).id in ("a", "b")


@pytest.mark.trap("stranded in the living")
async def test_what_was_delivered_into_a_dead_connection_is_adopted(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await send(broker, "a", "b")
    # The server delivered the job to this incarnation, but the answer was lost.
    own_server.call("XGROUP", "CREATE", key("q:default:5"), "w", "0")
    own_server.call("XREADGROUP", "GROUP", "w", worker.name, "COUNT", 1, "STREAMS", key("q:default:5"), ">")

    assert ids(await worker.claim()) == ["b"]
    adopted = await worker.adopt()

    assert sorted(ids(adopted)) == ["a", "b"]
    assert [await worker.finish(delivery) for delivery in adopted] == [Settled.DONE] * 2


@pytest.mark.trap("stranded in the living")
@pytest.mark.parametrize("how", ["claim", "wait"])
async def test_a_claim_says_that_the_connection_broke_while_nothing_was_asked(
    how: str, own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    """What the server had forgotten meanwhile, as a machine that lost its last second, would be lent for ever."""

    async def claim() -> Claim:
        return await (worker.claim() if how == "claim" else worker.wait(0.01))

    assert not (await worker.claim()).reconnected, "the first connection"
    assert not (await claim()).reconnected
    own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    redis_broker = worker.broker
    assert isinstance(redis_broker, RedisBroker)
    await wait_until_async(lambda: not redis_broker._waiting.connected, description="its end has arrived")

    assert (await claim()).reconnected
    assert not (await claim()).reconnected


@pytest.mark.trap("silent loss")
async def test_a_listener_subscribes_again_and_says_so(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    async with listening(broker, "client") as client:
        for times in (2, 3):
            own_server.call("CLIENT", "KILL", "TYPE", "pubsub")
            await wait_until_async(lambda n=times: client.subscriptions >= n, description="it has subscribed again")  # type: ignore[misc]

        await worker.finish(await take(worker, "a"), reply="client")

        await wait_until_async(lambda: client.notices, description="the client is notified")
        assert client.notices == [Notice("a", sealed_outcome("a"))]


async def test_a_listener_goes_on_after_a_server_that_loads_its_data(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    """Such a server takes the subscription, and answers a ping with an error that is none of the usual kind."""
    async with listening(broker, "client") as client:
        assert isinstance(broker, RedisBroker)
        (subscription,) = broker._subscriptions
        assert subscription._line is not None
        subscription._line.data_received(b"-LOADING Redis is loading the dataset in memory\r\n")
        assert isinstance(subscription._line.end.exception(), BusyLoadingError)
        await wait_until_async(lambda: client.subscriptions >= 2, description="it has subscribed again")

        await worker.finish(await take(worker, "a"), reply="client")

        await wait_until_async(lambda: client.notices, description="the client is notified")


async def test_a_call_that_is_cancelled_does_not_answer_the_next_one(broker: Broker, worker: Worker) -> None:
    await worker.finish(await take(worker, "known"))
    for turns in range(40):
        call = asyncio.create_task(broker.status(["known"]))
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

        assert await broker.status(["no-such"]) == [JobState()]


async def test_calls_of_many_tasks_do_not_mix(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(50)]
    await asyncio.gather(*(send(broker, name) for name in names))
    for delivery in (await worker.claim()).deliveries:
        await worker.finish(delivery)

    states = await asyncio.gather(*(broker.status([name]) for name in names))

    assert [state.outcome for [state] in states] == [sealed_outcome(name) for name in names]


async def test_no_server_is_a_lost_connection() -> None:
    broker = connect("unix:///tmp/aiotask-no-such-socket", "app")

    with pytest.raises(ConnectionLost, match="Is the server running"):
        await broker.open()
    with pytest.raises(ConnectionLost):
        await broker.push("client", 1, [a_push("a")])
    with pytest.raises(ConnectionLost):
        await Worker(broker, "host.1").wait(1.0)
    await broker.close()


@pytest.fixture
def durable_server() -> Iterator[PrivateServer]:
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def durable(durable_server: PrivateServer, app_name: str) -> AsyncIterator[Broker]:
    broker = connect(durable_server.url, app_name)
    yield broker
    await broker.close()


async def test_the_same_broker_object_works_on_when_the_server_is_back(
    durable_server: PrivateServer, durable: Broker
) -> None:
    worker = await Worker(durable, "host.1").enlist()
    claimed = await take(worker, "claimed")
    await worker.requeue(await take(worker, "retried"), meta=WORN, delay=3600.0)
    await worker.finish(await take(worker, "finished"))
    await send(durable, "pending", a_push("scheduled", delay=3600.0))
    async with listening(durable, "client") as client:
        durable_server.kill()
        with pytest.raises(ConnectionLost):
            await durable.status(["pending"])
        durable_server.start()

        await wait_until_async(lambda: client.subscriptions >= 2, description="the listener has subscribed again")
        assert await durable.status(["claimed", "retried", "finished", "pending", "scheduled"]) == [
            JobState(Status.RUNNING),
            JobState(Status.RETRYING),
            JobState(outcome=sealed_outcome("finished")),
            JobState(Status.PENDING),
            JobState(Status.SCHEDULED),
        ]
        with contextlib.suppress(ConnectionLost):
            await worker.adopt()  # on another connection, which has not met the restart yet
        assert ids(await worker.adopt()) == ["claimed"]
        assert await worker.finish(claimed, reply="client") is Settled.DONE
        assert (await worker.wait_for_job()).id == "pending"
        await wait_until_async(lambda: client.notices, description="the client is notified")


@pytest.mark.trap("server that hangs")
async def test_a_server_that_is_paused_is_waited_for_no_longer_than_a_call_lasts(
    own_server: PrivateServer, broker: Broker
) -> None:
    await send(broker, "a")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionLost):
            await broker.status(["a"])
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    assert await broker.status(["a"]) == [JobState(Status.PENDING)]


async def test_a_connection_that_is_being_made_as_its_object_is_closed_is_closed_too(
    own_server: PrivateServer,
) -> None:
    wire = Wire(own_server.url)
    asking = asyncio.create_task(wire.call("PING"))
    await asyncio.sleep(0)  # it connects
    await wire.close()

    with pytest.raises(ConnectionLost, match="was closed while it was being made"):
        await asking
    assert not wire.connected
    assert await wire.call("PING") == b"PONG", "a call that comes later connects anew"
    await wire.close()
