"""The data that stays on the server: its kinds, its lifetime, its bounds."""

from __future__ import annotations

from collections.abc import Callable

from aiotask.broker import Broker, Settled

from ...helpers import wait_until_async
from ...seam import Worker, a_push, is_pending, send, take
from ...server import PrivateServer


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


async def test_a_parked_lane_at_which_a_worker_waits_leaves_nothing_behind(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    await worker.requeue(await take(worker, "parked"), need="task:x")
    assert await broker.parked(["task:x", "task:y"]) == ["task:x"]
    worker.needs = ["task:x"]
    (delivery,) = (await worker.claim()).deliveries
    await worker.finish(delivery)

    assert await broker.parked(["task:x"]) == []
    await broker.recover()
    assert own_server.call("EXISTS", key("parked:task:x"), key("parked")) == 0
    # It has not looked since, and waits at the lane that is no more.
    await broker.wait(worker.name, ["default"], ["task:x"], 0.01)
    await broker.recover()
    assert own_server.call("EXISTS", key("parked:task:x"), key("parked")) == 0


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


async def test_a_client_is_remembered_for_an_hour(
    own_server: PrivateServer, broker: Broker, key: Callable[[str], str]
) -> None:
    await broker.push("client", 1, [a_push("a")])

    assert 3500 < own_server.call("TTL", key("client:client")) <= 3600
