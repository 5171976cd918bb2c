"""The order of a key that admits one job: over releases and deaths, and what parked jobs lose of it."""

from __future__ import annotations

from aiotask.broker import Settled
from aiotask.brokers.limits import Limits
from aiotask.job import Status

from ...seam import Worker, ids, send, status_of
from .words import Declare, end, limited


async def test_the_order_of_a_key_that_admits_one_is_that_of_the_sends(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"{key}-{n}", key) for n in range(8) for key in "abc"))
    ran: list[str] = []
    step = dead = 0
    current = worker
    while claim := (await current.claim()).deliveries:
        for delivery in claim:
            step += 1
            if step % 5 == 4:
                await current.requeue(delivery)
            elif step % 7 == 6:
                dead += 1
                await limits.recover(current.name)
                current = await Worker(limits, f"host.9{dead}").enlist()
                break
            else:
                await end(current, delivery)
                ran.append(delivery.id)

    assert len(ran) == 24 and dead > 0
    for key in "abc":
        assert [id for id in ran if id.startswith(key)] == [f"{key}-{n}" for n in range(8)]


async def test_a_parked_job_leaves_its_slot_and_comes_back_to_its_line(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("parked"), limited("next"))
    [first] = (await worker.claim()).deliveries
    assert await worker.requeue(first, need="task:x") is Settled.DONE
    assert await status_of(limits, "parked") is Status.PARKED
    [second] = (await worker.claim()).deliveries
    assert second.id == "next"

    able = await Worker(limits, "host.2", needs=["task:x"]).enlist()
    [found] = (await able.claim()).deliveries
    assert await able.requeue(found, limit="api:") is Settled.DONE
    assert ids(await worker.claim()) == []
    await end(worker, second)
    assert ids(await worker.claim()) == ["parked"]


async def test_a_parked_job_of_a_key_is_overtaken_until_a_worker_that_has_its_task_takes_it_and_no_longer(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running_each=1)
    await send(limits, *(limited(f"a-{n}", "a") for n in range(4)))
    [first] = (await worker.claim()).deliveries
    await worker.requeue(first, need="task:x")
    [second] = (await worker.claim()).deliveries
    assert second.id == "a-1"

    able = await Worker(limits, "host.2", needs=["task:x"]).enlist()
    [found] = (await able.claim()).deliveries
    assert await able.requeue(found, limit="api:a") is Settled.DONE
    assert ids(await able.claim()) == []
    ran = ["a-1"]
    await end(worker, second)
    while claim := (await able.claim()).deliveries:
        [delivery] = claim
        ran.append(delivery.id)
        await end(able, delivery)

    assert ran == ["a-1", "a-0", "a-2", "a-3"]
