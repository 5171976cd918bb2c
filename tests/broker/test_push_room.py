"""push into queues that are full: the newest are refused, or the oldest make room."""

from __future__ import annotations

from aiotask.broker import Broker, Finish, JobState, Notice, Overflow, Room
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import GONE, MakeBroker, Worker, a_push, drain, ids, listening, send, status_of


async def test_a_full_queue_takes_no_more_and_harms_nobody_else(
    broker: Broker, worker: Worker, another_broker: MakeBroker
) -> None:
    room = Room({"default": 3, "": 1})
    await broker.push("a", 1, [a_push("urgent", priority=0), a_push("low", priority=9)], room)
    batch = [a_push("third"), a_push("full"), a_push("mail-1", "mail"), a_push("mail-2", "mail"), a_push("fuller")]
    batch += [a_push("later", delay=3600.0), a_push("low", custom=True)]

    for _ in range(2):
        refused = await another_broker().push("b", 1, batch, room)
        assert refused == Overflow(["full", "mail-2", "fuller"]), "the same answer to a repeat"
    assert await broker.push("b", 2, [a_push("no-limit")]) is None

    [urgent, *_] = (await worker.claim(2)).deliveries
    assert urgent.id == "urgent"
    assert await broker.push("b", 3, [a_push("full"), a_push("fuller")], room) == Overflow(["fuller"])
    await worker.requeue((await worker.claim(1)).deliveries[0])
    assert await broker.push("b", 4, [a_push("fuller")], room) == Overflow(["fuller"]), "what went back counts too"
    worker.queues = ["default", "mail"]
    assert sorted(await drain(worker)) == sorted(["no-limit", "full", "low", "mail-1"])
    assert await status_of(broker, "later") is Status.SCHEDULED


async def test_the_oldest_of_a_full_queue_make_room(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, a_push("running", priority=9))
    await worker.claim()
    room = Room({"default": 3}, oldest=True)
    await broker.push("a", 1, [a_push("old", priority=9, reply="sender"), a_push("mid"), a_push("new")], room)
    refused = await broker.push("a", 2, [a_push("x"), a_push("y")], room)
    assert refused is not None
    assert refused.full == ["x", "y"]
    assert ids(refused.oldest) == ["old", "mid"]

    [new] = (await broker.claim(other.name, ["default"], (), 1)).deliveries
    assert new.id == "mid", "the other worker must claim the job before it can be dropped"
    drop = [Finish(each, GONE, Status.CANCELLED, 60.0, "sender") for each in refused.oldest]
    async with listening(broker, "sender") as sender:
        for _ in range(2):
            assert await broker.push("a", 3, [a_push("x"), a_push("y")], room, drop) is None
        await wait_until_async(lambda: sender.notices, description="the sender of the old one is notified")

    assert sender.notices == [Notice("old", GONE)]
    assert await broker.status(["old"]) == [JobState(outcome=GONE)]
    assert await status_of(broker, "mid") is Status.RUNNING
    assert await drain(worker) == ["new", "x", "y"]
