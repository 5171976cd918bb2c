"""reject: a message that is no job is set aside and counted."""

from __future__ import annotations

from aiotask.broker import Broker, Delivery, JobState, Notice, Settled
from aiotask.inspector import Inspector
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from ..seam import Worker, a_push, ids, is_unknown, listening, send, status_of, take


async def test_what_is_rejected_is_set_aside_and_counted(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    forged, fine = [await take(worker, name) for name in ("forged", "fine")]

    await broker.reject(worker.name, [(forged, "The seal does not fit.")])

    assert await inspector.rejected() == 1
    # A message that came in no lane is counted, too.
    await broker.reject(worker.name, [(Delivery("", "", "", b"", Meta()), "A forged message.")] * 2)
    assert await inspector.rejected() == 3
    assert await is_unknown(broker, "forged")
    assert ids(await worker.adopt()) == ["fine"]
    assert await worker.finish(forged) is Settled.NOT_YOURS
    assert await worker.finish(fine) is Settled.DONE


async def test_who_waits_for_what_was_rejected_is_told_to_look_and_finds_why(broker: Broker, worker: Worker) -> None:
    async with listening(broker, "client") as client:
        await send(broker, a_push("forged", reply="client"))
        [delivery] = (await worker.claim()).deliveries
        await broker.reject(worker.name, [(delivery, "The seal does not fit.")])

        await wait_until_async(lambda: client.notices, description="the sender is notified")

    assert client.notices == [Notice("forged")]
    assert await broker.status(["forged", "other"]) == [JobState(refused="The seal does not fit."), JobState()]


async def test_what_was_rejected_already_counts_once(broker: Broker, worker: Worker, inspector: Inspector) -> None:
    delivery = await take(worker, "forged")

    await broker.reject(worker.name, [(delivery, "forged"), (delivery, "forged")])
    await broker.reject(worker.name, [(delivery, "forged")])

    assert await inspector.rejected() == 1


async def test_a_rejected_message_that_borrowed_an_id_does_not_hurt_its_owner(broker: Broker, worker: Worker) -> None:
    forged = await take(worker, "a")
    real = await take(worker, "a")

    await broker.reject(worker.name, [(forged, "forged")])

    assert await status_of(broker, "a") is Status.RUNNING
    assert await worker.finish(real) is Settled.DONE
