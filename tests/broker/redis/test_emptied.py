"""Verbs work on after the server has lost scripts, groups or all of its data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiotask.broker import Broker, Cancelled, Delivery, JobState, Liveness, Settled

from ...seam import Worker, a_push, drain, finish, ids, sealed_outcome, send, take
from ...server import PrivateServer, is_blocked


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
    assert await broker.renew("host", 1) is Liveness.LIVE
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
    waiting = asyncio.create_task(worker.wait_for_job())  # it will find the group missing
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

    assert (await worker.wait(30.0)).liveness is Liveness.FORGOTTEN, (
        "the read must return at once, not with the next claim"
    )
    assert (await worker.claim()).liveness is Liveness.FORGOTTEN
    assert await broker.renew("host", 2) is Liveness.FORGOTTEN
    assert await broker.finish(worker.name, [finish(old)]) == ([Settled.NOT_YOURS], Liveness.FORGOTTEN)
    assert await broker.status(["lost"]) == [JobState()]

    again = await Worker(worker.broker, "host.2").enlist()
    assert await broker.renew("host", 3) is Liveness.LIVE
    await send(broker, "a")
    assert (await again.wait_for_job()).id == "a"
    assert (await worker.claim()).liveness is Liveness.FORGOTTEN, "forgotten, not dead: others enlisted since"


async def test_a_host_is_forgotten_and_not_dead_when_others_came_back_first_to_an_emptied_server(
    own_server: PrivateServer, broker: Broker, worker: Worker, other: Worker
) -> None:
    await broker.renew(worker.host, 1)
    own_server.call("FLUSHALL")
    await Worker(other.broker, "elsewhere.2").enlist()
    await other.broker.renew("elsewhere", 1)

    assert await broker.renew(worker.host, 2) is Liveness.FORGOTTEN
    assert await broker.renew(worker.host, 3) is Liveness.LIVE


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
