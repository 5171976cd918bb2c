"""replay and discard: dead letters run again or are removed."""

from __future__ import annotations

from aiotask.broker import Broker, Replayed, Settled
from aiotask.brokers.lanes import lane_of
from aiotask.inspector import Inspector
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from ..seam import WORN, Worker, a_push, drain, listening, outcome_of, sealed_outcome, send, status_of, take


async def test_a_dead_letter_is_replayed_once_as_a_fresh_job(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    lost = sealed_outcome("pill", Status.FAILED)
    await send(broker, a_push("pill", "mail", 2, body=b"J[1]", reply="client"))
    worker.queues = ["mail", "default"]
    [delivery] = (await worker.claim()).deliveries
    assert await worker.requeue(delivery, queue="mail", meta=WORN) is Settled.DONE
    await worker.finish((await worker.claim()).deliveries[0], outcome=lost, status=Status.FAILED, dead=True)

    assert await broker.replay(["pill", "unknown", "pill"]) == [Replayed.DONE, Replayed.MISSING, Replayed.MISSING]
    assert await inspector.dead() == [] and await status_of(broker, "pill") is Status.PENDING
    # The job is unfinished again, so a client that asks for its outcome waits for the new one.
    [again] = (await worker.claim()).deliveries
    assert (again.id, again.lane, again.meta) == ("pill", lane_of("mail", 2), Meta(series=again.meta.series))
    async with listening(broker, "asker") as asker:
        assert (await broker.status(["pill"], "asker"))[0].status is Status.RUNNING
        assert await worker.finish(again, outcome=sealed_outcome("pill")) is Settled.DONE
        await wait_until_async(lambda: asker.notices_of("pill"), description="the asker is notified")
    assert await outcome_of(broker, "pill") == sealed_outcome("pill")
    assert await broker.replay(["pill"]) == [Replayed.MISSING] and await drain(worker) == []


async def test_a_dead_letter_whose_id_means_a_later_job_stays(
    broker: Broker, worker: Worker, inspector: Inspector
) -> None:
    lost = sealed_outcome("a", Status.FAILED)
    await worker.finish(await take(worker, "a"), outcome=lost, status=Status.FAILED, result_ttl=0, dead=True)
    # The outcome is forgotten, so the id is free again.
    delivery = await take(worker, "a")
    assert await broker.replay(["a"]) == [Replayed.OUTDATED]
    await worker.finish(delivery)
    assert await broker.replay(["a"]) == [Replayed.OUTDATED] and await drain(worker) == []
    assert [letter.id for letter in await inspector.dead()] == ["a"]
    assert await outcome_of(broker, "a") == sealed_outcome("a")


async def test_dead_letters_are_removed_for_good(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    for name in ("one", "two"):
        await worker.finish(await take(worker, name), dead=True)

    assert await broker.discard(["one", "unknown"]) == [Replayed.DONE, Replayed.MISSING]
    assert await broker.discard(["one"]) == [Replayed.MISSING]
    assert [letter.id for letter in await inspector.dead()] == ["two"]
    # The outcome stays for the client until its TTL is over.
    assert await outcome_of(broker, "one") == sealed_outcome("one")
