"""A server in good order: its address, its password, its clock, and large batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from aiotask.broker import Broker, Settled
from aiotask.brokers import connect, inspect
from aiotask.brokers.limits import Limits
from aiotask.errors import BrokerError
from aiotask.job import Status
from aiotask.values.limit import LimitSpec

from ...helpers import wait_until_async
from ...seam import WORN, Worker, a_push, ids, is_pending, requeue, sealed_job, send, take
from ...server import PrivateServer
from ..limits.words import limited


async def test_the_url_is_shown_without_its_password(own_server: PrivateServer, app_name: str) -> None:
    assert connect("redis://user:secret@localhost:6379/3", app_name).url == "redis://user:***@localhost:6379/3"


async def test_a_server_that_wants_a_password_says_so(own_server: PrivateServer, app_name: str) -> None:
    own_server.call("CONFIG", "SET", "requirepass", "open sesame")
    broker = connect(own_server.url, app_name)

    with pytest.raises(BrokerError, match="password"):
        await broker.open()
    await broker.close()


async def test_the_inspector_of_a_broker_reads_the_same_server(broker: Broker, worker: Worker) -> None:
    await send(broker, "a")

    job = await inspect(broker).job("a")

    assert job is not None
    assert job.sealed == sealed_job("a")


async def test_a_batch_of_retries_and_parks_of_many_jobs_is_settled_at_once(broker: Broker, worker: Worker) -> None:
    await send(broker, *(f"job-{n}" for n in range(250)))
    deliveries = (await worker.claim()).deliveries

    batch = [
        requeue(delivery, delay=3600.0 if n % 2 else 0.0, need="task:x" if n % 5 == 0 else "", meta=WORN)
        for n, delivery in enumerate(deliveries)
    ]
    settled, _ = await broker.requeue(worker.name, batch)

    assert settled == [Settled.DONE] * 250
    states = await broker.status([f"job-{n}" for n in range(250)])
    assert [state.status for state in states[:6]] == [
        Status.PARKED,
        Status.RETRYING,
        Status.PENDING,
        Status.RETRYING,
        Status.PENDING,
        Status.PARKED,
    ]


async def test_a_server_whose_clock_is_set_back_keeps_nobody_waiting_for_longer_than_was_said(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """Make the server look as if its clock had been an hour ahead while these jobs were sent."""
    seconds = int(own_server.call("TIME")[0])
    ahead = 3600.0
    await worker.requeue(await take(worker, "again"), delay=5.0)
    many = [f"job-{n}" for n in range(1200)]
    await send(broker, *(a_push(name, delay=60.0 + n) for n, name in enumerate(many)))
    await send(broker, a_push("moment", eta=seconds + 600.0), a_push("now", delay=0.01))
    for name, score in [("moment", seconds + 600.0), ("again", seconds + 5.0), ("now", seconds - 1.0)]:
        own_server.call("ZADD", key("due"), score + (0.0 if name == "moment" else ahead), name)
    for n, name in enumerate(many):
        own_server.call("ZADD", key("due"), seconds + 60.0 + n + ahead, name)
    own_server.call("SET", key("clock"), seconds + ahead)

    await broker.promote()

    assert await is_pending(broker, "now")
    scores = own_server.call("ZRANGE", key("due"), 0, -1, "WITHSCORES")
    due = {name.decode(): float(score) - seconds for name, score in zip(scores[::2], scores[1::2], strict=True)}
    assert due.pop("moment") == 600.0
    assert 5.0 <= due.pop("again") < 35.0
    assert all(60.0 + n <= due[name] < 90.0 + n for n, name in enumerate(many))
    assert [state.status for state in await broker.status(["moment", "again", many[0]])] == [
        Status.SCHEDULED,
        Status.RETRYING,
        Status.SCHEDULED,
    ]
    own_server.call("DEL", key("due"), key("held"))
    await broker.promote()
    assert own_server.call("EXISTS", key("clock")) == 0


async def test_a_server_whose_clock_is_set_back_lets_what_a_rate_holds_go_on(
    own_server: PrivateServer, broker: Broker, worker: Worker, key: Callable[[str], str]
) -> None:
    """Make the server look as if its clock had been an hour ahead while the rate held these jobs."""
    limits = cast(Limits, broker)
    await limits.declare_limits(1.0, "shop:app", [LimitSpec("api", rate=2.0, burst=1)])
    await send(broker, *(limited(f"job-{n}") for n in range(3)))
    assert ids(await worker.claim()) == ["job-0"]
    # None, unless this machine was slow.
    ran = ids(await worker.claim())
    assert own_server.call("EXISTS", key("clock")) == 1, "before any keeper looks"
    seconds, ahead = int(own_server.call("TIME")[0]), 3600.0
    own_server.call("ZADD", key("wake"), seconds + ahead, "l:default:5:api:")
    own_server.call("SET", key("tat:api"), f"{(seconds + ahead) * 1e6:.0f}")
    own_server.call("SET", key("clock"), seconds + ahead)

    async def have_run() -> bool:
        await broker.promote()
        ran.extend(ids(await worker.claim()))
        return ran == ["job-1", "job-2"]

    await wait_until_async(have_run, description="both jobs are admitted")
    await broker.promote()
    assert own_server.call("EXISTS", key("wake"), key("clock")) == 0
