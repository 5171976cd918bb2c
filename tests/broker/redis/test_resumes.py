"""The end of a pause that takes several calls to the server, and whose caller dies in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from aiotask.broker import Broker
from aiotask.brokers.limits import Limits
from aiotask.brokers.pauses import Pause, Pauses
from aiotask.brokers.redis.broker import RedisBroker
from aiotask.brokers.redis.script import script
from aiotask.values.limit import LimitSpec

from ...seam import Worker, ids, send
from ...server import PrivateServer
from ..limits.words import end, limited

RENDER = Pause("task:shop.tasks:render", task="shop.tasks:render")
NEED = RENDER.need_in("default")


@pytest.fixture
async def limits(broker: Broker, worker: Worker) -> Limits:
    """Ten jobs of a key that admits one are parked."""
    found = cast("Limits", broker)
    await found.declare_limits(1.0, "shop:app", [LimitSpec("api", max_running_each=1)])
    await send(broker, *(limited(f"job-{n}", "a") for n in range(10)))
    await cast("Pauses", broker).pause(RENDER)
    while claim := (await worker.claim()).deliveries:
        for delivery in claim:
            await worker.requeue(delivery, need=NEED)
    return found


async def resume_some(limits: Limits, count: int) -> bool:
    """One call of those that a resume makes; whether the pause stands after it."""
    broker = cast("RedisBroker", limits)
    stood, more = await broker.wire.run(script("resume"), broker.prefix, RENDER.id, "", count)
    assert stood
    return bool(more)


async def run_all(worker: Worker) -> list[str]:
    ran: list[str] = []
    while claim := (await worker.claim()).deliveries:
        ran += ids(claim)
        await end(worker, *claim)
    return ran


async def test_nothing_is_admitted_in_between_and_any_worker_goes_on(limits: Limits, worker: Worker) -> None:
    pauses = cast("Pauses", limits)
    assert await resume_some(limits, 4)
    await send(limits, limited("newcomer", "a"), "plain")

    assert ids(await worker.claim()) == ["plain"]
    standing = await pauses.pauses()
    assert ([pause.id for pause in standing.pauses], standing.resuming) == ([RENDER.id], [RENDER.id])

    assert await pauses.resume(RENDER.id, begun=True)
    standing = await pauses.pauses()
    assert (standing.pauses, standing.resuming) == ([], [])
    assert await run_all(worker) == [*(f"job-{n}" for n in range(10)), "newcomer"]


async def test_a_pause_that_begins_anew_in_between_parks_them_again(limits: Limits, worker: Worker) -> None:
    pauses = cast("Pauses", limits)
    assert await resume_some(limits, 4)
    await pauses.pause(RENDER)

    # The caller of the resume goes on, and finds that there is nothing to go on with.
    await pauses.resume(RENDER.id, begun=True)
    standing = await pauses.pauses()
    assert ([pause.id for pause in standing.pauses], standing.resuming) == ([RENDER.id], [])
    while claim := (await worker.claim()).deliveries:
        for delivery in claim:
            await worker.requeue(delivery, need=NEED)

    await pauses.resume(RENDER.id)
    assert await run_all(worker) == [f"job-{n}" for n in range(10)]


async def test_a_pause_that_was_deleted_by_hand_holds_nothing_back(
    limits: Limits, worker: Worker, own_server: PrivateServer, key: Callable[[str], str]
) -> None:
    pauses = cast("Pauses", limits)
    assert await resume_some(limits, 4)
    own_server.call("DEL", key("paused"))

    for id in (await pauses.pauses()).resuming:
        assert not await pauses.resume(id, begun=True)
    assert own_server.call("EXISTS", key("resuming")) == 0

    # What is still parked is offered to workers, which put it into its line.
    limits.free_seats = worker.broker.free_seats = 0  # type: ignore[attr-defined]
    worker.needs = (await pauses.pauses()).resumed
    parked = (await worker.claim()).deliveries
    assert ids(parked) == [f"job-{n}" for n in range(4, 10)]
    for delivery in parked:
        await worker.requeue(delivery, limit="api:a", priority=5)
    worker.broker.free_seats = 1  # type: ignore[attr-defined]
    assert await run_all(worker) == [f"job-{n}" for n in range(10)]
