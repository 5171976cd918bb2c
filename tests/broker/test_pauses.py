"""pause, resume, pauses: nothing of a paused queue is claimed, and jobs of a paused task are parked."""

from __future__ import annotations

from typing import cast

import pytest

from aiotask.broker import Broker, Notice, Room
from aiotask.brokers import inspect
from aiotask.brokers.pauses import Pause, Pauses, pause_id
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from ..seam import Listener, Worker, a_push, drain, ids, listening, send, status_of

QUEUE = Pause("queue:default", queue="default", by="ann", why="a move", at=1.0)
ALL = Pause("all", at=2.0)
TASK = Pause(pause_id(task="shop.tasks:render"), task="shop.tasks:render", at=3.0)


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def pauses(broker: Broker) -> Pauses:
    return cast("Pauses", broker)


async def test_pauses_are_listed_from_the_oldest_on(pauses: Pauses) -> None:
    for pause in (ALL, QUEUE, TASK):
        await pauses.pause(pause)
    assert (await pauses.pauses()).pauses == [QUEUE, ALL, TASK]


async def test_a_pause_of_the_same_id_is_replaced(pauses: Pauses) -> None:
    await pauses.pause(Pause(QUEUE.id, queue="default", why="another reason"))
    await pauses.pause(QUEUE)
    assert (await pauses.pauses()).pauses == [QUEUE]


async def test_what_is_not_paused_cannot_be_resumed(pauses: Pauses) -> None:
    await pauses.pause(QUEUE)
    assert await pauses.resume(QUEUE.id)
    assert not await pauses.resume(QUEUE.id)
    assert (await pauses.pauses()).pauses == []


async def test_the_live_workers_that_do_not_obey_a_pause_yet_are_known(pauses: Pauses, worker: Worker) -> None:
    first = await pauses.pause(TASK)
    assert await pauses.disobeying(TASK.id, first) == [worker.name]

    await pauses.obey(worker.name, (await pauses.pauses()).changes)
    second = await pauses.pause(QUEUE)

    assert await pauses.disobeying(TASK.id, first) == []
    assert await pauses.disobeying(QUEUE.id, second) == [worker.name]
    await pauses.resume(QUEUE.id)
    assert await pauses.disobeying(QUEUE.id, second) == []


async def test_a_dead_worker_is_not_waited_for(pauses: Pauses, worker: Worker) -> None:
    changes = await pauses.pause(QUEUE)
    await pauses.recover(worker.name)
    assert await pauses.disobeying(QUEUE.id, changes) == []


async def test_nothing_of_a_paused_queue_is_claimed(pauses: Pauses, worker: Worker) -> None:
    await send(pauses, "first", a_push("other", "mail"), "second")
    await pauses.pause(QUEUE)
    worker.queues = ("default", "mail")

    claim = await worker.claim()

    assert (ids(claim), claim.paused) == (["other"], True)
    assert await status_of(pauses, "first") is Status.PENDING
    await pauses.resume(QUEUE.id)
    claim = await worker.claim()
    assert (ids(claim), claim.paused) == (["first", "second"], False)


async def test_a_claim_of_other_queues_does_not_speak_of_the_pause(pauses: Pauses, worker: Worker) -> None:
    await pauses.pause(QUEUE)
    worker.queues = ("mail",)
    assert not (await worker.claim()).paused


async def test_nothing_at_all_is_claimed_while_everything_is_paused(pauses: Pauses, worker: Worker) -> None:
    await send(pauses, "first", a_push("other", "mail"))
    worker.queues = ("default", "mail")
    await pauses.pause(ALL)
    claim = await worker.claim()
    assert (ids(claim), claim.paused) == ([], True)
    await pauses.resume(ALL.id)
    assert sorted(await drain(worker)) == ["first", "other"]


async def test_a_suspect_of_a_paused_queue_is_not_claimed(pauses: Pauses, worker: Worker, other: Worker) -> None:
    await send(pauses, "bad")
    [delivery] = (await other.claim()).deliveries
    await pauses.recover(other.name, blame=["bad"])
    await pauses.pause(QUEUE)
    assert not (await worker.claim()).suspects
    assert ids(await worker.claim(alone=True)) == []
    await pauses.resume(QUEUE.id)
    assert (await worker.claim()).suspects
    assert ids(await worker.claim(alone=True)) == [delivery.id]


async def test_jobs_come_back_to_a_paused_queue_and_stay(pauses: Pauses, worker: Worker) -> None:
    await send(pauses, "running", "waiting")
    [delivery] = (await worker.claim(1)).deliveries
    await pauses.pause(QUEUE)
    await worker.requeue(delivery, meta=Meta(attempt=2))
    assert ids(await worker.claim()) == []
    await pauses.resume(QUEUE.id)
    assert ids(await worker.claim()) == ["running", "waiting"]


async def test_the_lane_of_a_pause_that_is_over_is_offered(pauses: Pauses, worker: Worker) -> None:
    await send(pauses, "first", "second")
    await pauses.pause(TASK)
    for delivery in (await worker.claim()).deliveries:
        await worker.requeue(delivery, need=TASK.need_in("default"))
    assert (await pauses.pauses()).resumed == []
    await pauses.resume(TASK.id)
    assert (await pauses.pauses()).resumed == [TASK.need_in("default")]
    worker.needs = (TASK.need_in("default"),)
    claim = await worker.claim()
    assert ids(claim) == ["first", "second"]
    # Until they have ended: a worker that adopts asks for the lane, too.
    assert (await pauses.pauses()).resumed == [TASK.need_in("default")]
    for delivery in claim.deliveries:
        await worker.finish(delivery)
    assert (await pauses.pauses()).resumed == []


async def test_live_workers_are_told(pauses: Pauses, worker: Worker) -> None:
    async with listening(pauses, worker.name) as listener:
        await pauses.pause(QUEUE)
        await wait_until_async(lambda: told(listener) == 1, description="the worker is told")
        await pauses.resume(QUEUE.id)
        await wait_until_async(lambda: told(listener) == 2, description="the worker is told again")


def told(listener: Listener) -> int:
    return listener.notices.count(Notice(""))


async def test_jobs_of_a_paused_task_count_as_waiting_in_their_queue(pauses: Pauses, worker: Worker) -> None:
    await send(pauses, "first", "second")
    await pauses.pause(TASK)
    for delivery in (await worker.claim()).deliveries:
        await worker.requeue(delivery, need=TASK.need_in("default"))
    await send(pauses, "unable")
    [delivery] = (await worker.claim()).deliveries
    await worker.requeue(delivery, need="task:unknown")
    stats = await inspect(pauses).stats()
    assert (stats.parked, stats.paused) == (3, 2)
    room = Room({"default": 3, "mail": 1})
    overflow = await pauses.push("a-client", 1, [a_push("third"), a_push("fourth"), a_push("other", "mail")], room)
    assert overflow is not None
    assert overflow.full == ["fourth"]
