"""adopt: a worker finds what was delivered to it."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker

from ..seam import Worker, a_push, ids, park, send, suspect, take


async def test_adopt_finds_every_delivery_of_this_incarnation(broker: Broker, other: Worker, worker: Worker) -> None:
    await park(other, "parked", "task:x")
    await suspect(broker, "risky", "host.2")
    await send(broker, a_push("low", priority=9), a_push("mail", "mail"))
    worker.queues, worker.needs = ["default", "mail"], ["task:x"]
    [alone] = (await worker.claim(alone=True)).deliveries
    claimed = [alone, *(await worker.claim()).deliveries]
    await take(other, "theirs")

    adopted = await worker.adopt()

    assert sorted(ids(adopted)) == ["low", "mail", "parked", "risky"]
    assert {delivery.entry: delivery for delivery in adopted} == {delivery.entry: delivery for delivery in claimed}


@pytest.mark.trap("stranded in the living")
async def test_adopt_finds_more_than_one_call_brings(broker: Broker, worker: Worker) -> None:
    names = [f"job-{n}" for n in range(1_100)]
    large = [f"large-{n}" for n in range(3)]
    await send(broker, *names)
    await send(broker, *(a_push(name, "mail", body=bytes(200_000)) for name in large))
    worker.queues = ["default", "mail", "empty"]
    while (await worker.claim()).deliveries:
        pass

    assert ids(await worker.adopt()) == names + large


async def test_adopt_forgets_what_was_settled(worker: Worker) -> None:
    await worker.finish(await take(worker, "finished"))
    await worker.requeue(await take(worker, "retried"), delay=3600.0)
    await worker.requeue(await take(worker, "parked"), need="task:x")

    assert await worker.adopt() == []
