"""Single keys are deleted by hand, or hold data that aiotask did not write."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import redis

from aiotask.broker import Broker, Cancelled, JobState, Liveness, Push, Settled
from aiotask.brokers import inspect
from aiotask.errors import BrokerError, ConnectionLost, QueueFull
from aiotask.job import Meta, Status

from ...helpers import wait_until_async
from ...seam import Worker, a_push, drain, ids, is_pending, sealed_job, sealed_outcome, send, take
from ...server import PrivateServer

# ---- keys that are deleted, or of the wrong type


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

    # Another key is damaged, which stops the recovery.
    live = own_server.call("DUMP", key("live"))
    own_server.call("SET", key("live"), "not ours")
    own_server.call("DEL", key("index"), *buckets)
    assert await broker.status(["waiting", "nobody's"]) == [JobState(doubtful=True)] * 2
    with pytest.raises(BrokerError, match="live"):
        await broker.recover()
    assert [state.status for state in await broker.status(["daily", "waiting"])] == [Status.PENDING] * 2
    own_server.call("RESTORE", key("live"), 0, live, "REPLACE")

    # Something else is put in its place before it is put right.
    own_server.call("DEL", *buckets)
    own_server.call("SET", key("index"), "not ours")
    assert await broker.status(["waiting", "nobody's"]) == [JobState(doubtful=True)] * 2
    with pytest.raises(BrokerError, match="index"):
        await broker.recover()
    own_server.call("DEL", key("index"))
    await broker.recover()
    assert [state.status for state in await broker.status(["daily", "waiting"])] == [Status.PENDING] * 2

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

    # A lane: a custom id that stood in it is free again, though no client asked for it.
    own_server.call("DEL", key("q:default:5"))
    await broker.push("client", 1, [custom])
    assert ids(await worker.claim()) == ["daily"]

    # One half of a scheduled job, then the other, is deleted: no client waits for ever.
    await send(broker, a_push("half", delay=3600.0), a_push("rest", delay=0.01))
    own_server.call("DEL", key("due"))
    assert await broker.status(["half"], "client") == [JobState()]
    await send(broker, a_push("other", delay=3600.0))
    own_server.call("DEL", key("held"))
    assert await broker.status(["other"]) == [JobState()]

    # A job without its due time and its place in the index would never be found again.
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
    assert await broker.renew(worker.host, 2) is Liveness.LIVE

    await broker.declare_dead(worker.host)
    assert await broker.renew(worker.host, 3) is Liveness.DEAD


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


# ---- what strangers write into keys


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
    call("HSET", key("counts"), "default|SUCCESS", "many", "default|CANCELLED", "1.5")
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
    assert await broker.declare_dead("many", 0), "a host that never renews must be declared dead"
    assert await broker.parked(["task:x"]) == []
    call("SET", key("r:waiting"), "forged")
    states = await broker.status(["waiting", "lane", "live", "ghost"])
    assert [(state.status, state.outcome) for state in states] == [(Status.RUNNING, None), *[(None, None)] * 3]
    assert await broker.cancel("live", b"gone", 1.0) is Cancelled.UNKNOWN
    assert await worker.finish(deliveries["waiting"]) is Settled.DONE
    assert (await broker.status(["waiting"]))[0].outcome == sealed_outcome("waiting")
    assert call("HGET", key("counts"), "default|SUCCESS") == b"1"

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
