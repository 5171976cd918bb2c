"""expired, seconds_left: jobs expire by the broker's clock."""

from __future__ import annotations

import time
from typing import cast

import pytest

from aiotask.broker import Broker, Push, Special
from aiotask.brokers.expiry import BATCH_EXPIRED, Expired, Expiry
from aiotask.brokers.graphs import Conclusion, Graphs, Node, parts_of
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import Worker, a_push, finish, ids, outcome_of, sealed_outcome, send, status_of

HOUR = 3600.0


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def expiry(broker: Broker) -> Expiry:
    return cast("Expiry", broker)


def expiring(id: str, expires: float, **options: float) -> Push:
    return a_push(id, special=Special(expires=expires), **options)


def past() -> float:
    return time.time() - HOUR


async def expired(broker: Expiry) -> list[str]:
    await broker.promote()
    return sorted(job.id for job in broker.expired)


async def test_a_job_expires_in_its_lane(expiry: Expiry) -> None:
    await send(expiry, "plain", expiring("past", past()), expiring("later", -HOUR), expiring("soon", -0.01))
    await wait_until_async(lambda: are_expired(expiry, "past", "soon"), description="both have expired")
    [job] = [job for job in expiry.expired if job.id == "past"]
    assert (job.task, job.result_ttl, job.attempt) == ("shop.tasks:render", HOUR, 1)
    assert 0 < job.at < time.time()


async def are_expired(broker: Expiry, *wanted: str) -> bool:
    return await expired(broker) == sorted(wanted)


async def test_a_job_that_is_not_due_expires(expiry: Expiry) -> None:
    await send(expiry, expiring("past", past(), delay=HOUR))
    assert await expired(expiry) == ["past"]


async def test_a_job_expires_while_it_is_parked_or_between_retries(expiry: Expiry, worker: Worker) -> None:
    await send(expiry, expiring("parked", past()), expiring("retrying", past()))
    for delivery in (await worker.claim()).deliveries:
        if delivery.id == "parked":
            await worker.requeue(delivery, need="task:other")
        else:
            await worker.requeue(delivery, delay=HOUR)
    assert await expired(expiry) == ["parked", "retrying"]


async def test_a_job_that_a_worker_has_does_not_expire_until_it_comes_back(expiry: Expiry, worker: Worker) -> None:
    await send(expiry, expiring("past", past()))
    [delivery] = (await worker.claim()).deliveries
    assert await expired(expiry) == []
    assert await expiry.seconds_left(["past"]) == [0.0]
    await worker.requeue(delivery)
    await wait_until_async(lambda: are_expired(expiry, "past"), description="it has expired")


async def test_a_job_that_was_recovered_expires(expiry: Expiry, worker: Worker) -> None:
    await send(expiry, expiring("past", past()))
    await worker.claim()
    assert await expired(expiry) == []
    await expiry.recover(worker.name)
    await wait_until_async(lambda: are_expired(expiry, "past"), description="it has expired")


async def test_an_expired_job_is_concluded(expiry: Expiry, worker: Worker) -> None:
    await send(expiry, expiring("past", past()))
    [job] = await found(expiry)
    outcome = sealed_outcome("past", Status.EXPIRED)
    assert await expiry.conclude([Conclusion(job.id, outcome, Status.EXPIRED, job.result_ttl)]) == [True]
    assert await outcome_of(expiry, "past") == outcome
    assert await expired(expiry) == []
    assert await expiry.seconds_left(["past"]) == [None]
    assert ids(await worker.claim()) == []


async def found(broker: Expiry) -> list[Expired]:
    await broker.promote()
    return list(broker.expired)


async def test_one_call_names_a_bounded_number(expiry: Expiry) -> None:
    await send(expiry, *(expiring(f"job-{n}", past()) for n in range(BATCH_EXPIRED + 20)))
    assert len(await expired(expiry)) == BATCH_EXPIRED


async def test_the_seconds_that_are_left(expiry: Expiry) -> None:
    await send(expiry, "plain", expiring("past", past()), expiring("later", -HOUR), expiring("eta", time.time() + HOUR))
    gone, later, eta, plain, unknown = await expiry.seconds_left(["past", "later", "eta", "plain", "unknown"])
    assert (gone, plain, unknown) == (0.0, None, None)
    assert later is not None and HOUR - 60 < later <= HOUR
    assert eta is not None and HOUR - 60 < eta <= HOUR


@pytest.mark.parametrize("special", [False, True])
async def test_what_has_ended_does_not_expire(expiry: Expiry, worker: Worker, special: bool) -> None:
    await send(expiry, expiring("past", past()))
    [delivery] = (await worker.claim()).deliveries
    if special:
        await expiry.finish_special(worker.name, [finish(delivery)])
    else:
        await worker.finish(delivery)
        await wait_until_async(lambda: are_expired(expiry), description="it is forgotten")
        assert await expired(expiry) == []
    if special:
        assert await expiry.seconds_left(["past"]) == [None]


async def test_a_cancelled_job_does_not_expire(expiry: Expiry) -> None:
    await send(expiry, expiring("past", past()))
    await expiry.cancel("past", sealed_outcome("past", Status.CANCELLED), 60.0)
    assert await expiry.seconds_left(["past"]) == [None]
    assert await expired(expiry) == []


async def test_a_known_id_keeps_its_time(expiry: Expiry) -> None:
    await send(expiry, expiring("report", -HOUR, custom=True))
    await send(expiry, expiring("report", past(), custom=True))
    assert await expired(expiry) == []


async def test_a_replayed_dead_letter_does_not_expire(expiry: Expiry, worker: Worker) -> None:
    await send(expiry, expiring("past", past()))
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, status=Status.FAILED, outcome=sealed_outcome("past", Status.FAILED), dead=True)
    await expired(expiry)
    await expiry.replay(["past"])
    assert await expired(expiry) == []
    assert await status_of(expiry, "past") is Status.PENDING


async def test_a_node_expires_from_when_it_is_ready(expiry: Expiry, worker: Worker) -> None:
    graphs: Graphs = expiry
    nodes = [
        Node(1, "shop.tasks:render", a_push("first")),
        Node(2, "shop.tasks:render", expiring("second", -HOUR), upstream=(1,)),
    ]
    for part in parts_of("second", nodes, token="t", result_ttl=60.0):
        await graphs.push_graph("a-client", 1, part)
    assert await expiry.seconds_left(["second"]) == [None]
    [delivery] = (await worker.claim()).deliveries
    await expiry.finish_special(worker.name, [finish(delivery, graph="second", node=1)])
    while (await graphs.advance()).left:
        pass
    [left] = await expiry.seconds_left(["second"])
    assert left is not None and HOUR - 60 < left <= HOUR
    assert ids(await worker.claim()) == ["second"]
