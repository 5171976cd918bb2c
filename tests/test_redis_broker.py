"""The broker on a real server that fails: connections die, memory fills up, keys vanish, strangers write."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis

from aiotask.broker import Broker, Cancelled, Delivery, JobState, Meta, Notice, Push, Settled, Standing
from aiotask.brokers import connect, inspect
from aiotask.errors import BrokerError, ConnectionLost, QueueFull
from aiotask.job import Status
from aiotask.wire.seal import OVERHEAD

from .helpers import wait_until_async
from .seam import WORN, Worker, a_push, drain, finish, ids, listening, requeue, sealed_job, sealed_outcome, send
from .server import PrivateServer

MakeBroker = Callable[[], Broker]


@pytest.fixture
def broker_url(own_server: PrivateServer) -> str:
    """Here a server is hurt, so each test has its own."""
    return own_server.url


@pytest.fixture
async def worker(another_broker: MakeBroker) -> Worker:
    return await Worker(another_broker(), "host.1").enlist()


@pytest.fixture
async def other(another_broker: MakeBroker) -> Worker:
    return await Worker(another_broker(), "elsewhere.1").enlist()


@pytest.fixture
def key(app_name: str) -> Callable[[str], str]:
    """The full name of a key of this test's app."""
    return lambda name: f"aiotask1:{{{app_name}}}:{name}"


async def take(worker: Worker, id: str) -> Delivery:
    await send(worker.broker, id)
    [delivery] = (await worker.claim()).deliveries
    return delivery


async def is_blocked(server: PrivateServer, count: int = 1) -> None:
    """Wait until as many clients are inside a blocking read."""
    await wait_until_async(
        lambda: server.call("INFO", "clients")["blocked_clients"] >= count, description="the read is blocked"
    )


# ---- connections that die


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
            # Now and then long enough for a slow machine to get something done.
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
    # The server gave it to this incarnation, and the answer never came.
    own_server.call("XGROUP", "CREATE", key("q:default:5"), "w", "0")
    own_server.call("XREADGROUP", "GROUP", "w", worker.name, "COUNT", 1, "STREAMS", key("q:default:5"), ">")

    assert ids(await worker.claim()) == ["b"]
    adopted = await worker.adopt()

    assert sorted(ids(adopted)) == ["a", "b"]
    assert [await worker.finish(delivery) for delivery in adopted] == [Settled.DONE] * 2


@pytest.mark.trap("silent loss")
async def test_a_listener_subscribes_again_and_says_so(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    async with listening(broker, "client") as client:
        for times in (2, 3):
            own_server.call("CLIENT", "KILL", "TYPE", "pubsub")
            await wait_until_async(lambda n=times: client.times_ready >= n, description="it has subscribed again")  # type: ignore[misc]

        await worker.finish(await take(worker, "a"), reply="client")

        await wait_until_async(lambda: client.notices, description="the client is told")
        assert client.notices == [Notice("a", sealed_outcome("a"))]


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

        await wait_until_async(lambda: client.times_ready >= 2, description="the listener has subscribed again")
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
        await wait_until_async(lambda: client.notices, description="the client is told")


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


# ---- a server that loses its mind


async def test_every_verb_survives_a_script_flush(own_server: PrivateServer, broker: Broker, worker: Worker) -> None:
    def flush() -> None:
        own_server.call("SCRIPT", "FLUSH")

    flush()
    await send(broker, "a", "b", "c", a_push("later", delay=3600.0))
    flush()
    a, b, c = (await worker.claim()).deliveries
    flush()
    assert await worker.finish(a) is Settled.DONE
    flush()
    assert await worker.requeue(b) is Settled.DONE
    flush()
    assert (await broker.status(["a"]))[0].outcome == sealed_outcome("a")
    flush()
    assert await broker.cancel("c", b"gone", 60.0) is Cancelled.ASKED
    flush()
    assert ids(await worker.adopt()) == ["c"]
    flush()
    await broker.reject(worker.name, [(c, "forged")])
    flush()
    assert (await broker.promote())[0] == 0
    flush()
    assert await broker.renew("host", 1) is Standing.LIVE
    flush()
    assert (await broker.recover()).moved == 0
    flush()
    assert await broker.declare_dead("host", 1)
    flush()
    await Worker(broker, "host2.1").enlist()


async def test_lanes_whose_groups_were_destroyed_heal(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await send(broker, "claimed", "waiting")
    claimed = ids(await worker.claim(1))
    assert claimed == ["claimed"]
    waiting = asyncio.create_task(worker.wait_for_job())  # it will meet the missing group
    assert (await waiting).id == "waiting"

    for lane in own_server.call("KEYS", key("q:*")):
        own_server.call("XGROUP", "DESTROY", lane, "w")

    seen: dict[str, Delivery] = {}
    await send(broker, "fresh")
    while len(seen) < 3:
        delivery = await worker.wait_for_job()
        seen[delivery.id] = delivery
    assert set(seen) == {"claimed", "waiting", "fresh"}
    assert [await worker.finish(delivery) for delivery in seen.values()] == [Settled.DONE] * 3
    assert await drain(worker) == []


async def test_a_read_that_is_blocked_while_its_groups_are_destroyed_heals(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await worker.wait(0.01)
    waiting = asyncio.create_task(worker.wait_for_job())
    await is_blocked(own_server)

    for lane in own_server.call("KEYS", key("q:*")):
        own_server.call("XGROUP", "DESTROY", lane, "w")
    await send(broker, "a")

    assert (await waiting).id == "a"


async def test_an_emptied_server_forgets_everybody_and_is_used_again(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    await broker.renew("host", 1)
    old = await take(worker, "lost")

    own_server.call("FLUSHALL")

    assert (await worker.wait(30.0)).standing is Standing.FORGOTTEN, "heard at once, not with the next claim"
    assert (await worker.claim()).standing is Standing.FORGOTTEN
    assert await broker.renew("host", 2) is Standing.FORGOTTEN
    assert await broker.finish(worker.name, [finish(old)]) == ([Settled.NOT_YOURS], Standing.FORGOTTEN)
    assert await broker.status(["lost"]) == [JobState()]

    again = await Worker(worker.broker, "host.2").enlist()
    assert await broker.renew("host", 3) is Standing.LIVE
    await send(broker, "a")
    assert (await again.wait_for_job()).id == "a"
    assert (await worker.claim()).standing is Standing.FORGOTTEN, "forgotten, not dead: others enlisted since"


async def test_a_host_is_forgotten_and_not_dead_when_others_came_back_first_to_an_emptied_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await broker.renew(worker.host, 1)
    own_server.call("FLUSHALL")
    await Worker(other.broker, "elsewhere.2").enlist()
    await other.broker.renew("elsewhere", 1)

    assert await broker.renew(worker.host, 2) is Standing.FORGOTTEN
    assert await broker.renew(worker.host, 3) is Standing.LIVE


async def test_a_read_that_is_blocked_while_the_server_is_emptied_heals(
    own_server: PrivateServer, broker: Broker, worker: Worker
) -> None:
    await worker.wait(0.01)
    waiting = asyncio.create_task(worker.wait(60.0))
    await is_blocked(own_server)

    own_server.call("FLUSHALL")
    await worker.broker.wake()
    await waiting

    again = await Worker(worker.broker, "host.2").enlist()
    await send(broker, "a")
    assert (await again.wait_for_job()).id == "a"


async def test_jobs_of_a_deleted_lane_are_unknown_and_the_lane_is_used_again(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await send(broker, "lost", "cancelled")

    own_server.call("DEL", key("q:default:5"))

    assert await broker.status(["lost"], "client") == [JobState()]
    assert await broker.cancel("cancelled", b"gone", 60.0) is Cancelled.UNKNOWN
    await send(broker, "a")
    assert (await worker.wait_for_job()).id == "a"
    assert (await broker.recover()).moved == 0


async def test_a_claimed_job_whose_lane_was_deleted_does_not_stop_its_neighbours(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    await send(broker, a_push("lost", priority=1), a_push("fine", priority=2))
    await worker.claim()

    own_server.call("DEL", key("q:default:1"))

    assert (await broker.recover(worker.name)).moved == 1
    assert await drain(other) == ["fine"]


async def test_while_the_index_cannot_be_put_right_nobody_is_told_that_a_job_is_gone(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    custom = Push("daily", "default", 5, sealed_job("daily"), custom=True)
    await take(worker, "running")
    await send(broker, custom, "waiting")
    await broker.recover()
    buckets = [key("index:")]

    # Another key is spoiled, which holds up the recovery.
    live = own_server.call("DUMP", key("live"))
    own_server.call("SET", key("live"), "not ours")
    own_server.call("DEL", key("index"), *buckets)
    assert await broker.status(["waiting", "nobody's"]) == [JobState(doubtful=True)] * 2
    with pytest.raises(BrokerError, match="live"):
        await broker.recover()
    assert [state.status for state in await broker.status(["daily", "waiting"])] == [Status.PENDING] * 2
    own_server.call("RESTORE", key("live"), 0, live, "REPLACE")

    # The server takes no writes.
    own_server.call("DEL", key("index"), *buckets)
    own_server.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert await broker.status(["waiting", "nobody's"]) == [JobState(doubtful=True)] * 2
    own_server.call("CONFIG", "SET", "min-replicas-to-write", 0)
    await broker.recover()
    assert [state.status for state in await broker.status(["daily", "waiting"])] == [Status.PENDING] * 2
    assert await broker.status(["nobody's"]) == [JobState()]


async def test_the_index_follows_what_was_deleted_by_hand(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await take(worker, "running")
    custom = Push("daily", "default", 5, sealed_job("daily"), custom=True)
    await send(broker, custom, a_push("later", delay=3600.0), a_push("soon", delay=0.01), "waiting")

    # The index alone, the list of its buckets, and one of those: jobs that wait are found again.
    made = [f"00aaaaaaaaaaaaaaa-{n}" for n in (1, 16, 17)]
    await send(broker, *made)
    buckets = [key("index:"), *(key(f"index:{id[:-1]}") for id in made)]
    for names in ([key("index"), *buckets], [key("index")], buckets[2:]):
        own_server.call("DEL", *names)
        await broker.recover()
        assert [state.status for state in await broker.status(["daily", "waiting", *made])] == [Status.PENDING] * 5
        assert (await broker.status(["later"]))[0].status is Status.SCHEDULED
    assert own_server.call("SCARD", key("index")) == 4

    # A lane: a custom id that stood in it is free again, though nobody has looked for it.
    own_server.call("DEL", key("q:default:5"))
    await broker.push("client", 1, [custom])
    assert ids(await worker.claim()) == ["daily"]

    # One half of what is due, then the other: nobody waits for that for ever.
    await send(broker, a_push("half", delay=3600.0), a_push("rest", delay=0.01))
    own_server.call("DEL", key("due"))
    assert await broker.status(["half"], "client") == [JobState()]
    await send(broker, a_push("other", delay=3600.0))
    own_server.call("DEL", key("held"))
    assert await broker.status(["other"]) == [JobState()]

    # Without its time nor its place in the index, nobody would ever look at it again.
    await send(broker, a_push("timeless", delay=3600.0))
    own_server.call("DEL", key("due"), *own_server.call("KEYS", key("index*")))

    await broker.recover()
    assert own_server.call("SMEMBERS", key("index")) == {b"", b"."}
    assert set(own_server.call("HKEYS", key("index:"))) == {b"daily"}
    assert own_server.call("HLEN", key("held")) == 0


async def test_a_host_whose_lease_was_deleted_by_hand_lives_on(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await broker.renew(worker.host, 1)
    own_server.call("DEL", key("leases"))
    assert await broker.renew(worker.host, 2) is Standing.LIVE

    await broker.declare_dead(worker.host)
    assert await broker.renew(worker.host, 3) is Standing.DEAD


async def test_jobs_of_the_dead_come_back_though_the_names_of_the_queues_were_deleted(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    await take(worker, "a")
    own_server.call("DEL", key("queues"))

    assert (await broker.recover(worker.name)).moved == 1
    assert await drain(other) == ["a"]


@pytest.mark.parametrize("name", ["q:default:5", "index", "index:", "index:00aaaaaaaaaaaaaaa-", "queues", "held"])
async def test_the_error_names_the_key_of_the_wrong_type_and_the_way_out(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str], name: str
) -> None:
    await send(broker, a_push("other", "mail"))
    own_server.call("DEL", key(name))
    own_server.call("SET", key(name), "not ours")

    with pytest.raises(BrokerError) as caught:
        later = a_push("b", delay=60.0 if name == "held" else 0.0)
        await broker.push("client", 1, [a_push("00aaaaaaaaaaaaaaa-1"), later])

    assert f'"{key(name)}" holds a string' in str(caught.value)
    assert f'DEL "{key(name)}"' in str(caught.value)
    own_server.call("DEL", key(name))
    await broker.push("client", 2, [a_push("a")])
    assert await drain(worker) == ["a"]
    await broker.recover()
    assert await broker.status(["00aaaaaaaaaaaaaaa-1"]) == [JobState()]


async def test_no_job_is_lost_where_the_lane_it_goes_to_is_no_stream_any_more(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    held, released = [await take(worker, id) for id in ("held", "released")]
    await send(broker, a_push("due", priority=7, delay=0.01))
    for name in ("q:default:r", "q:default:s", "q:default:7"):
        own_server.call("SET", key(name), "not ours")

    assert await worker.requeue(released) is Settled.DONE
    assert (await broker.recover(worker.name, blame=[held.id], reason="killed")).moved == 1
    assert sorted(await drain(other)) == ["held", "released"]

    own_server.call("DEL", key("q:default:r"), key("q:default:s"), key("q:default:7"))
    await wait_until_async(lambda: is_pending(broker, "due"), description="the due job is promoted")
    assert await drain(other) == ["due"]


async def test_a_permission_that_is_taken_away_costs_no_job(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await take(worker, "held")
    released = await take(worker, "released")
    await send(broker, a_push("due", delay=0.01))
    own_server.call("ACL", "SETUSER", "default", "-xadd")

    async def is_refused(call: Callable[[], Awaitable[object]]) -> bool:
        try:
            await call()
        except BrokerError as error:
            return "ACL SETUSER" in str(error)
        return False

    batch = [a_push("scheduled", delay=3600.0), a_push("now")]
    for call in (
        broker.promote,
        lambda: worker.requeue(released),
        lambda: broker.recover(worker.name),
        lambda: broker.push("client", 1, batch),
    ):
        await wait_until_async(lambda call=call: is_refused(call), description="it is refused")  # type: ignore[misc]
    assert await broker.status(["scheduled", "now"]) == [JobState()] * 2

    own_server.call("ACL", "SETUSER", "default", "+xadd")
    assert await worker.requeue(released) is Settled.DONE
    assert (await broker.recover(worker.name)).moved == 1
    await wait_until_async(lambda: is_pending(broker, "due"), description="the due job is promoted")
    assert sorted(await drain(other)) == ["due", "held", "released"]


async def test_a_server_busy_with_a_script_is_not_ready(own_server: PrivateServer, broker: Broker) -> None:
    def compute() -> None:
        with redis.Redis(unix_socket_path=str(own_server.socket)) as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)  # type: ignore[no-untyped-call]

    own_server.call("CONFIG", "SET", "lua-time-limit", 1)
    busy = asyncio.create_task(asyncio.to_thread(compute))
    with pytest.raises(ConnectionLost, match="not ready: BUSY"):
        while True:
            await broker.status(["a"])
    own_server.call("SCRIPT", "KILL")
    await busy
    assert await broker.status(["a"]) == [JobState()]


async def test_a_batch_that_meets_a_key_of_the_wrong_type_leaves_nothing_behind(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    own_server.call("SET", key("q:default:7"), "not a stream")
    batch = [a_push("a", priority=1), a_push("b", priority=7), a_push("c", delay=3600.0)]

    with pytest.raises(BrokerError):
        await broker.push("client", 1, batch)

    assert await broker.status(["a", "b", "c"]) == [JobState()] * 3
    assert ids(await worker.claim()) == []
    await send(broker, "neighbour")
    assert ids(await worker.claim()) == ["neighbour"], "the other lanes work on"

    own_server.call("DEL", key("q:default:7"))
    await broker.push("client", 1, batch)
    assert await drain(worker) == ["a", "b"]


async def test_no_batch_of_a_row_is_in_without_the_one_before_it(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    own_server.call("SET", key("q:default:7"), "not a stream")
    row = [[a_push("a")], [a_push("b", priority=7)], [a_push("c")]]

    assert await broker.push_row("client", 1, row) == 1, "the second one is refused, and so the third is not in"
    assert await broker.status(["b", "c"]) == [JobState()] * 2
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await broker.push_row("client", 2, row[1:])
    own_server.call("SCRIPT", "FLUSH")
    own_server.call("DEL", key("q:default:7"))
    assert await broker.push_row("client", 2, row[1:]) >= 1
    assert await broker.push_row("client", 2, row[1:]) == 2
    own_server.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(QueueFull):
        await broker.push_row("client", 4, [[a_push("d")], [a_push("e")]])
    own_server.call("CONFIG", "SET", "maxmemory", 0)
    assert await broker.push_row("client", 4, [[a_push("d")], [a_push("e")]]) == 2

    assert await drain(worker) == ["a", "c", "d", "e", "b"]


# ---- a server that is full


@pytest.mark.trap("full memory")
async def test_only_sending_meets_a_full_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await broker.renew("host", 1)
    await broker.read_history("recorder", 10, 0.01)
    await send(broker, *(f"job-{n}" for n in range(6)))
    finished, released, retried, parked, recovered, rejected = (await worker.claim()).deliveries
    await send(broker, a_push("due", delay=0.01), a_push("cancelled", delay=3600.0), "unclaimed")
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    with pytest.raises(QueueFull, match="out of memory"):
        await broker.push("client", 1, [a_push("refused")])

    assert await worker.finish(finished) is Settled.DONE
    assert await worker.requeue(released) is Settled.DONE
    assert await worker.requeue(retried, delay=3600.0) is Settled.DONE
    assert await worker.requeue(parked, need="task:x") is Settled.DONE
    await broker.reject(worker.name, [(rejected, "forged")])
    assert await broker.status([finished.id, retried.id, parked.id], "watcher") == [
        JobState(outcome=sealed_outcome(finished.id)),
        JobState(Status.RETRYING),
        JobState(Status.PARKED, need="task:x"),
    ]
    assert await broker.cancel(recovered.id, b"gone", 60.0) is Cancelled.ASKED
    assert await broker.cancel("cancelled", b"gone", 60.0) is Cancelled.DONE
    assert await broker.renew("host", 2) is Standing.LIVE
    await wait_until_async(lambda: is_pending(broker, "due"), description="the due job is promoted")
    assert (await broker.recover(worker.name)).moved == 1
    assert await broker.status([recovered.id]) == [JobState(outcome=b"gone")]
    assert await drain(other) == [released.id, "unclaimed", "due"]
    rows = await broker.read_history("recorder", 10, 10.0)
    await broker.trim_history([row.entry for row in rows])
    assert len(rows) == 3

    own_server.call("CONFIG", "SET", "maxmemory", 0)
    await broker.push("client", 1, [a_push("refused")])
    assert await drain(other) == ["refused"]


async def is_pending(broker: Broker, id: str) -> bool:
    await broker.promote()
    return (await broker.status([id]))[0].status is Status.PENDING


@pytest.mark.trap("full memory")
async def test_a_new_worker_drains_a_full_server(own_server: PrivateServer, broker: Broker) -> None:
    await send(broker, "a", "b", a_push("c", "mail", 9))
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    worker = await Worker(broker, "host.1", ["default", "mail", "empty"], ["task:x"]).enlist()
    assert await broker.renew("host", 1) is Standing.LIVE

    assert (await worker.wait(0.01)).deliveries == [], "it has only made the lanes"
    claimed = [*(await worker.wait(30.0)).deliveries, *(await worker.claim()).deliveries]
    assert sorted(ids(claimed)) == ["a", "b", "c"]
    assert [await worker.finish(delivery) for delivery in claimed] == [Settled.DONE] * 3
    assert await broker.read_history("recorder", 10, 0.01) == []


@pytest.mark.trap("full memory")
async def test_a_suspect_is_run_alone_on_a_full_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await take(worker, "pill")
    await send(broker, "fine")
    own_server.call("CONFIG", "SET", "maxmemory", 1)

    assert (await broker.recover(worker.name, blame=["pill"], reason="killed by SIGSEGV")).moved == 1

    assert (await other.claim()).suspects
    assert ids(await other.claim(alone=True)) == ["pill"]
    assert ids(await other.claim()) == ["fine"]


# ---- dead incarnations that go on reading


@pytest.mark.trap("read of the dead")
async def test_a_read_that_was_blocked_as_its_incarnation_was_buried_is_recovered_by_the_next_scan(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await broker.renew("host", 1)
    await worker.wait(0.01)
    waiting = asyncio.create_task(worker.wait(60.0))
    await is_blocked(own_server)

    await broker.declare_dead("host", 1)
    await broker.recover(worker.name)
    await send(broker, "a")
    await worker.broker.wake()
    stranded = (await waiting).deliveries

    async def others_have_it() -> bool:
        await broker.recover()
        return ids(await other.claim()) == ["a"]

    await wait_until_async(others_have_it, description="the other worker has the job")
    for delivery in stranded:
        assert await worker.finish(delivery) is Settled.NOT_YOURS
    assert (await worker.claim()).standing is Standing.DEAD


async def test_a_dead_incarnation_leaves_no_consumer_behind(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await take(worker, "a")
    await broker.recover(worker.name)

    for lane in own_server.call("KEYS", key("q:*")):
        if own_server.call("XINFO", "GROUPS", lane):
            assert own_server.call("XINFO", "CONSUMERS", lane, "w") == []


# ---- strangers


async def test_what_strangers_put_into_a_lane_is_delivered_rejected_and_counted(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    lane = key("q:default:5")
    strange = [
        ("x", "y"),
        ("i", b"\xff\xfe", "j", b"\x00" * 100),
        ("j", "", "m", b"\xc1 no meta"),
        ("j", sealed_job("b"), "m", b"\x93\xa1x\xa1y\xa1z"),
    ]
    for fields in strange:
        own_server.call("XADD", lane, "*", *fields)
    await send(broker, "fine")

    deliveries = (await worker.claim()).deliveries

    assert [delivery.sealed for delivery in deliveries] == [
        b"",
        b"\x00" * 100,
        b"",
        sealed_job("b"),
        sealed_job("fine"),
    ]
    assert [delivery.meta for delivery in deliveries] == [Meta()] * 5
    await broker.reject(worker.name, [(delivery, "forged") for delivery in deliveries[:3]])
    assert own_server.call("HGET", key("counts"), "rejected") == b"3"
    assert own_server.call("XLEN", key("aside")) == 3
    assert sorted(ids(await worker.adopt())) == ["b", "fine"]


async def test_what_strangers_put_into_a_lane_does_not_stop_the_recovery_of_others(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    strange = bytes(OVERHEAD) + b"\x9c\x01\xa7strange"
    for meta in (b"\xc1 no meta", b"\x93\xa1x\xa1y\xa1z", b"\xa3abc", b"\x90"):
        own_server.call("XADD", key("q:default:5"), "*", "j", strange, "m", meta)
    own_server.call("XADD", key("q:default:5"), "*", "x", "y")
    await send(broker, "fine", "pill")
    assert len((await worker.claim()).deliveries) == 7

    recovered = await broker.recover(worker.name, blame=["strange", "pill"], reason="killed by SIGSEGV")

    assert (recovered.moved, recovered.more) == (7, False)
    suspects = []
    while deliveries := (await other.claim(alone=True)).deliveries:
        suspects += deliveries
    assert [(suspect.id, suspect.meta) for suspect in suspects] == [
        *[("strange", Meta(1, 1, "killed by SIGSEGV"))] * 4,
        ("pill", Meta(1, 1, "killed by SIGSEGV")),
    ]
    assert sorted(await drain(other)) == ["", "fine"]


async def test_strange_messages_do_not_stop_a_listener(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    async with listening(broker, "client") as client:
        for message in (
            b"",
            b"\x00",
            b"\x00\xff\xff",
            b"\x07\x00\x01a\x00\x00\x00\x00",
            b"\xff" * 1000,
            b"\x00\x00\x01\xff",
        ):
            own_server.call("PUBLISH", key("to:client"), message)

        await worker.finish(await take(worker, "real"), reply="client")

        await wait_until_async(lambda: client.heard_of("real"), description="the real one is heard")
        assert client.times_ready == 1


# ---- what stays behind


async def test_finished_jobs_leave_nothing_behind(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    worker.needs = other.needs = ["task:x"]
    await worker.requeue(await take(worker, "retried"), delay=0.01)
    await worker.requeue(await take(worker, "parked"), need="task:x")
    await wait_until_async(lambda: is_pending(broker, "retried"), description="the retry is promoted")
    await send(broker, "recovered", a_push("cancelled", delay=3600.0), "marked")
    await broker.cancel("cancelled", b"gone", 0.05)
    await worker.claim()
    await broker.cancel("marked", b"gone", 0.05)
    await broker.status(["recovered", "retried", "parked"], "watcher")
    await broker.recover(worker.name, blame=["recovered"], reason="killed by SIGSEGV")
    for delivery in [*(await other.claim(alone=True)).deliveries, *(await other.claim()).deliveries]:
        assert await other.finish(delivery, result_ttl=0.05) is Settled.DONE
    rejected = await take(other, "rejected")
    await broker.status(["rejected"], "watcher")
    await broker.reject(other.name, [(rejected, "forged")])
    await wait_until_async(lambda: not own_server.call("KEYS", key("r:*")), description="all outcomes have expired")

    prefix = key("")
    left = {name.decode().removeprefix(prefix) for name in own_server.call("KEYS", f"{glob(prefix)}*")}
    lasting = {name for name in left if not name.startswith(("q:", "parked:", "client:", "refused:"))}

    assert lasting <= {"queues", "parked", "live", "leases", "counts", "aside", "index"}
    assert all(own_server.call("XLEN", key(name)) == 0 for name in left if name.startswith(("q:", "parked:")))
    assert all(own_server.call("PTTL", key(name)) > 0 for name in left if name.startswith("client:"))
    assert own_server.call("HLEN", key("live")) == 2, "the epoch and the one who lives"


def glob(prefix: str) -> str:
    return prefix.replace("[", r"\[").replace("*", r"\*")


async def test_dead_letters_and_what_was_set_aside_make_room(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    own_server.call("EVAL", "for n = 1, 10000 do redis.call('ZADD', KEYS[1], n, 'old-' .. n) end", 1, key("dead"))

    await worker.finish(await take(worker, "pill"), dead=True)

    assert own_server.call("ZCARD", key("dead")) == 10_000
    assert own_server.call("ZSCORE", key("dead"), "old-1") is None
    assert own_server.call("ZSCORE", key("dead"), "pill") is not None


async def test_rows_of_a_recorder_that_went_away_come_again(
    own_server: PrivateServer, broker: Broker, worker: Worker, another_broker: MakeBroker, key: Callable[[str], str]
) -> None:
    await broker.read_history("gone", 10, 0.01)
    await worker.finish(await take(worker, "a"))
    await worker.finish(await take(worker, "b"))
    rows = await broker.read_history("gone", 10, 10.0)
    assert len(rows) == 2
    # The next keeper of the same host has its name, and goes on where it was.
    assert await another_broker().read_history("gone", 1, 10.0) == rows[:1]
    later = another_broker()
    assert await later.read_history("later", 10, 0.01) == [], "they are still in good hands"

    entries = [row.entry for row in rows]
    own_server.call("XCLAIM", key("history"), "recorders", "gone", 0, *entries, "IDLE", 120_000)

    assert await later.read_history("later", 10, 10.0) == rows
    await later.trim_history(entries)
    assert own_server.call("XLEN", key("history")) == 0


async def test_rows_are_written_whole_however_they_come(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """Small envelopes come back with the outcomes, others are read where they are; so is what was partly lost."""
    await broker.start_history()
    large = a_push("large", body=b"x" * 100_000)
    await send(broker, "first", "second", "third", large, "fourth", "gone", "fifth")
    first, second, third, fourth, fifth, gone, last = (await worker.claim()).deliveries
    assert (fourth.id, gone.id) == ("large", "gone")
    own_server.call("XACK", key("q:default:5"), "w", gone.entry)
    own_server.call("XDEL", key("q:default:5"), gone.entry)

    for batch in ([first], [second, third], [fourth, fifth], [gone, last]):
        await broker.finish(worker.name, [finish(delivery) for delivery in batch])

    entries = own_server.call("XRANGE", key("history"), "-", "+")
    assert [int(fields[b"n"]) for _, fields in entries] == [1, 2, 1, 1, 1]
    assert await broker.unrecorded() == 6
    rows = await broker.read_history("recorder", 10, 10.0)
    rows += await broker.read_history("recorder", 10, 10.0)
    assert [row.job for row in rows] == [
        *(sealed_job(name) for name in ("first", "second", "third")),
        large.sealed,
        *(sealed_job(name) for name in ("fourth", "fifth")),
    ]


async def test_the_oldest_rows_make_room(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await broker.start_history()
    await worker.finish(await take(worker, "oldest"))
    await worker.finish(await take(worker, "older"))
    own_server.call("HSET", key("counts"), "unrecorded", 1_000_000)

    await worker.finish(await take(worker, "newest"))

    rows = await broker.read_history("recorder", 10, 10.0)
    assert [row.job for row in rows] == [sealed_job("older"), sealed_job("newest")]
    assert await broker.unrecorded() == 1_000_000
    await broker.trim_history([row.entry for row in rows])
    assert await broker.unrecorded() == 0, "counted anew"


async def test_an_envelope_that_was_cut_off_anywhere_is_delivered(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """To be set aside by whoever gets it: an error here would end every worker and keeper that comes by."""
    await send(broker, "first")
    short, long = sealed_job("short"), sealed_job("long" * 10)
    cuts = [sealed[:end] for sealed in (short, long) for end in range(40)]
    for cut in cuts:
        own_server.call("XADD", key("q:default:5"), "*", "j", cut)

    claimed = (await worker.claim()).deliveries

    assert [delivery.sealed for delivery in claimed[1:]] == cuts
    assert (await broker.recover(worker.name)).moved == len(claimed)


async def test_a_client_is_remembered_for_an_hour(
    own_server: PrivateServer, broker: Broker, key: Callable[[str], str]
) -> None:
    await broker.push("client", 1, [a_push("a")])

    assert 3500 < own_server.call("TTL", key("client:client")) <= 3600


async def test_the_url_is_shown_without_its_password(own_server: PrivateServer, app_name: str) -> None:
    assert connect("redis://user:secret@localhost:6379/3", app_name).url == "redis://user:***@localhost:6379/3"


async def test_a_server_that_wants_a_password_says_so(own_server: PrivateServer, app_name: str) -> None:
    own_server.call("CONFIG", "SET", "requirepass", "open sesame")
    broker = connect(own_server.url, app_name)

    with pytest.raises(BrokerError, match="password"):
        await broker.open()
    await broker.close()


async def test_the_inspector_of_a_broker_reads_the_same_server(broker: Broker, worker: Worker) -> None:
    await send(broker, "a")

    job = await inspect(broker).job("a")

    assert job is not None
    assert job.sealed == sealed_job("a")


async def test_a_batch_of_retries_and_parks_of_many_jobs_is_settled_at_once(broker: Broker, worker: Worker) -> None:
    await send(broker, *(f"job-{n}" for n in range(250)))
    deliveries = (await worker.claim()).deliveries

    batch = [
        requeue(delivery, delay=3600.0 if n % 2 else 0.0, need="task:x" if n % 5 == 0 else "", meta=WORN)
        for n, delivery in enumerate(deliveries)
    ]
    settled, _ = await broker.requeue(worker.name, batch)

    assert settled == [Settled.DONE] * 250
    states = await broker.status([f"job-{n}" for n in range(250)])
    assert [state.status for state in states[:6]] == [
        Status.PARKED,
        Status.RETRYING,
        Status.PENDING,
        Status.RETRYING,
        Status.PENDING,
        Status.PARKED,
    ]


async def test_a_server_whose_clock_is_set_back_keeps_nobody_waiting_for_longer_than_was_said(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """As if its clock had been an hour ahead until now, while all of these were sent."""
    seconds = int(own_server.call("TIME")[0])
    ahead = 3600.0
    await worker.requeue(await take(worker, "again"), delay=5.0)
    many = [f"job-{n}" for n in range(1200)]
    await send(broker, *(a_push(name, delay=60.0 + n) for n, name in enumerate(many)))
    await send(broker, a_push("moment", eta=seconds + 600.0), a_push("now", delay=0.01))
    for name, score in [("moment", seconds + 600.0), ("again", seconds + 5.0), ("now", seconds - 1.0)]:
        own_server.call("ZADD", key("due"), score + (0.0 if name == "moment" else ahead), name)
    for n, name in enumerate(many):
        own_server.call("ZADD", key("due"), seconds + 60.0 + n + ahead, name)
    own_server.call("SET", key("clock"), seconds + ahead)

    await broker.promote()

    assert await is_pending(broker, "now")
    scores = own_server.call("ZRANGE", key("due"), 0, -1, "WITHSCORES")
    due = {name.decode(): float(score) - seconds for name, score in zip(scores[::2], scores[1::2], strict=True)}
    assert due.pop("moment") == 600.0
    assert 5.0 <= due.pop("again") < 35.0
    assert all(60.0 + n <= due[name] < 90.0 + n for n, name in enumerate(many))
    assert [state.status for state in await broker.status(["moment", "again", many[0]])] == [
        Status.SCHEDULED,
        Status.RETRYING,
        Status.SCHEDULED,
    ]
    own_server.call("DEL", key("due"), key("held"))
    await broker.promote()
    assert own_server.call("EXISTS", key("clock")) == 0


# ---- strangers write


async def test_what_strangers_write_into_keys_stops_nobody(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker, key: Callable[[str], str]
) -> None:
    call, odd = own_server.call, b"\xff\xfe"
    for name in ("queues", "parked"):
        call("SADD", key(name), odd)
    for value in (b"many", odd, b"9" * 5000):
        call("HSET", key("leases"), value, value)
    for name in ("live", "index:", "marks", "begun", "held", "dead:jobs"):
        call("HSET", key(name), odd, odd, "ghost", b"")
    call("SADD", key("index"), "", odd)
    call("HSET", key("index:"), "live", "live|1-1", "lane", "q:default:5|x")
    call("HSET", key("counts"), "SUCCESS", "many", "CANCELLED", "1.5")
    for name in ("due", "dead"):
        call("ZADD", key(name), 0, odd, 0, "ghost", 0, "waiting")
    call("SET", key("clock"), "late")

    await send(broker, "waiting", "marked", "begun", a_push("due", delay=0.01))
    call("HSET", key("marks"), "marked", b"\xff" * 60)
    call("HSET", key("begun"), "begun", b"yes")
    deliveries = {delivery.id: delivery for delivery in (await worker.claim()).deliveries}
    deep = b"\x95\x01\x00\xa0\xc0" + b"\x91" * 20_000
    for meta in (deep, b"\x93\x01\x00\xa2\xff\xfe", b"\x92\xcf" + b"\xff" * 8 + b"\x00"):
        call("XADD", key("q:default:0"), "*", "j", odd, "m", meta)
    strange = (await worker.claim()).deliveries
    assert [delivery.meta for delivery in strange] == [Meta()] * 3
    await broker.reject(worker.name, [(delivery, "no job") for delivery in strange])

    assert (await broker.leases())["many"] == 0
    assert await broker.declare_dead("many", 0), "whoever never beats is buried"
    assert await broker.parked(["task:x"]) == []
    call("SET", key("r:waiting"), "forged")
    states = await broker.status(["waiting", "lane", "live", "ghost"])
    assert [(state.status, state.outcome) for state in states] == [(Status.RUNNING, None), *[(None, None)] * 3]
    assert await broker.cancel("live", b"gone", 1.0) is Cancelled.UNKNOWN
    assert await worker.finish(deliveries["waiting"]) is Settled.DONE
    assert (await broker.status(["waiting"]))[0].outcome == sealed_outcome("waiting")
    assert call("HGET", key("counts"), "SUCCESS") == b"1"

    await broker.recover(worker.name)
    assert set(await drain(other)) == {"marked", "begun"}

    async def nothing_is_held() -> bool:
        await broker.promote()
        return bool(call("HLEN", key("held")) == 0)

    await wait_until_async(nothing_is_held, description="the due job waits, and what was no job is gone")
    assert await drain(other) == ["due"]
    assert {str(answer) for answer in await broker.replay(["ghost", "waiting"])} == {"missing"}
    inspector = inspect(broker)
    assert await inspector.rejected() == 4, "one of them was due"
    assert {queue.name for queue in await inspector.queues()} == {"default", "\ufffd\ufffd"}
    await inspector.workers(), await inspector.jobs(), await inspector.dead()
