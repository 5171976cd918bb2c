"""Jobs that are moved to another queue, on the brokers that can do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotask.broker import Broker, Settled
from aiotask.brokers import connect, due_now_of, features, inspect, moving_of
from aiotask.brokers.moving import Move
from aiotask.brokers.technology import MOVE
from aiotask.errors import ConfigError
from aiotask.job import Status
from aiotask.wire.seal import OVERHEAD

from ..seam import GONE, WORN, Worker, a_push, drain, ids, sealed_job, send, status_of, suspect, take

HOUR = 3600.0


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the jobs are: the brokers that have the feature ``move``."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("redis_url")
    return url


async def test_a_broker_that_moves_no_jobs_says_so(app_name: str, tmp_path: Path) -> None:
    broker = connect(f"sqlite://{tmp_path}/jobs.db", app_name)
    assert MOVE not in features(broker.url)
    with pytest.raises(ConfigError, match="Moving jobs to another queue"):
        moving_of(broker)


async def a_move(broker: Broker, id: str, queue: str = "other", priority: int = 5) -> Move:
    """The move of a job as who has read it asks for it."""
    info = await inspect(broker).job(id)
    assert info is not None and info.sealed is not None
    return Move(id, info.sealed[:OVERHEAD], sealed_job(id, queue, priority=priority))


async def moved(broker: Broker, *jobs: str, queue: str = "other", priority: int = 5) -> list[bool]:
    return await moving_of(broker).move(queue, [await a_move(broker, id, queue, priority) for id in jobs])


@pytest.fixture
async def other(broker: Broker) -> Worker:
    return await Worker(broker, "host-2.1", ["other"]).enlist()


async def test_pending_jobs_go_to_the_end_of_their_priority_and_are_the_same(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await send(broker, a_push("there", "other", 3), *(a_push(f"p{n}", priority=n) for n in (3, 0, 9)), "stays")
    assert await moving_of(broker).move("other", [await a_move(broker, f"p{n}", "other", n) for n in (3, 0, 9)]) == [
        *(True, True, True)
    ]

    claim = await other.claim()
    assert ids(claim) == ["p0", "there", "p3", "p9"]
    assert claim.deliveries[0].sealed == sealed_job("p0", "other", priority=0)
    assert await drain(worker) == ["stays"]
    # Nothing is left behind, and what ends is counted in the queue to which it went.
    assert [await other.finish(each) for each in claim.deliveries] == [Settled.DONE] * 4
    queues = {each.name: each for each in await inspect(broker).queues()}
    assert (queues["default"].pending, queues["other"].ended) == (0, {"SUCCESS": 4})


async def test_counters_returned_jobs_and_suspects_stay_what_they_are(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await worker.requeue(await take(worker, "returned"), meta=WORN, behind=-1)
    await suspect(broker, a_push("deadly", "third"), "host-9.1", "third")
    await send(broker, a_push("fresh", "other", 0))
    assert await moved(broker, "returned", "deadly") == [True, True]

    claim = await other.claim()
    assert claim.suspects and ids(claim) == []
    [deadly] = (await other.claim(alone=True)).deliveries
    assert (deadly.id, deadly.suspect, deadly.meta.deaths) == ("deadly", True, 1)
    await other.finish(deadly)
    claim = await other.claim()
    assert ids(claim) == ["returned", "fresh"] and claim.deliveries[0].meta == WORN


async def test_scheduled_and_retrying_jobs_keep_their_time(broker: Broker, worker: Worker, other: Worker) -> None:
    await send(broker, a_push("later", delay=HOUR), a_push("eta", eta=4e9))
    await worker.requeue(await take(worker, "retrying"), meta=WORN, delay=2 * HOUR)
    inspector = inspect(broker)
    before = {id: await inspector.job(id) for id in ("later", "eta", "retrying")}
    assert await moved(broker, *before) == [True, True, True]

    for id, info in before.items():
        now = await inspector.job(id)
        assert info is not None and now is not None
        assert (now.status, now.due_at, now.meta) == (info.status, info.due_at, info.meta)
    assert await inspector.jobs(status=Status.SCHEDULED, queue="default") == []
    await due_now_of(broker).make_due(list(before))
    await broker.promote()
    assert sorted(await drain(other)) == ["eta", "later", "retrying"] and await drain(worker) == []


async def test_parked_jobs_wait_for_a_worker_of_the_queue(broker: Broker, worker: Worker, other: Worker) -> None:
    await worker.requeue(await take(worker, "parked"), need="task:shop:gone")
    assert await moved(broker, "parked", priority=7) == [True]

    assert await status_of(broker, "parked") is Status.PENDING
    claim = await other.claim()
    assert ids(claim) == ["parked"]
    await other.requeue(claim.deliveries[0], queue="other", need="task:shop:gone")
    assert await status_of(broker, "parked") is Status.PARKED
    assert (await inspect(broker).stats()).parked == 1


async def test_what_a_worker_has_or_has_ended_or_is_another_job_stays(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    claimed = await take(worker, "claimed")
    await send(broker, "pending", "old")
    stale = await a_move(broker, "old")
    await broker.cancel("old", GONE, HOUR)
    await broker.forget(["old"])
    await send(broker, a_push("old", body=b"another call"))
    unknown = Move("unknown", stale.seal, stale.sealed)
    batch = [await a_move(broker, "claimed"), stale, unknown, await a_move(broker, "pending")]
    assert await moving_of(broker).move("other", batch) == [False, False, False, True]
    # Again: it is another envelope by now.
    assert await moving_of(broker).move("other", batch) == [False, False, False, False]

    assert await drain(other) == ["pending"] and await drain(worker) == ["old"]
    assert await worker.finish(claimed) is Settled.DONE
    assert await moving_of(broker).move("other", batch[:1]) == [False]
