"""Messages that aiotask did not send, and dead readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiotask.broker import Broker, Liveness, Settled
from aiotask.job import Meta
from aiotask.wire.seal import OVERHEAD

from ...helpers import wait_until_async
from ...seam import Worker, drain, ids, listening, sealed_job, send, take, without_trail
from ...server import PrivateServer, is_blocked

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
    assert (await worker.claim()).liveness is Liveness.DEAD


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
    assert [(suspect.id, without_trail(suspect)) for suspect in suspects] == [
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

        await wait_until_async(lambda: client.notices_of("real"), description="the notice of the real job has arrived")
        assert client.subscriptions == 1


async def test_what_looks_like_a_lane_of_a_later_release_by_chance_is_set_aside(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """What is due says how long its lane is; where it is shorter than that, it is no job of any release."""
    await send(broker, "real")
    own_server.call("HSET", key("held"), "strange", b"\xca\x89ph:\xcf\x9dM\xc7")
    own_server.call("HSET", key("held"), "short", b"\x00\x04ph:x\x00")
    own_server.call("ZADD", key("due"), 1, "strange", 1, "short")

    await broker.promote()

    assert own_server.call("EXISTS", key("held"), key("due")) == 0
    assert own_server.call("HGET", key("counts"), "rejected") == b"2"
    assert await drain(worker) == ["real"]


async def test_an_envelope_that_was_cut_off_anywhere_is_delivered(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """The worker that gets the message sets it aside: an error would end every worker and keeper that reads it."""
    await send(broker, "first")
    short, long = sealed_job("short"), sealed_job("long" * 10)
    cuts = [sealed[:end] for sealed in (short, long) for end in range(40)]
    for cut in cuts:
        own_server.call("XADD", key("q:default:5"), "*", "j", cut)

    claimed = (await worker.claim()).deliveries

    assert [delivery.sealed for delivery in claimed[1:]] == cuts
    assert (await broker.recover(worker.name)).moved == len(claimed)
