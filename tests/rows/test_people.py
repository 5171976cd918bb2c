"""What people do to rows and read of them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from aiotask.broker import Cancelled, Finish, Replayed, Settled
from aiotask.brokers.sql import inspect
from aiotask.brokers.sql.broker import LOOK, RowBroker
from aiotask.errors import ConfigError, JobCancelled, WorkerLost
from aiotask.job import Status
from aiotask.wire.cancel_marks import genuine_cancels
from aiotask.wire.ended import ended
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async
from .shop import Shop, claim

# ---- people


async def test_a_cancelled_row_never_starts_and_one_that_runs_is_stopped(shop: Shop, worker: RowBroker) -> None:
    shop.fill(2)
    [delivery] = await claim(worker, 1)
    assert await worker.cancel("thumbnails/2", b"", 0.0) is Cancelled.DONE
    assert await worker.cancel("thumbnails/2", b"", 0.0) is Cancelled.FINISHED
    assert await worker.cancel("thumbnails/9", b"", 0.0) is Cancelled.UNKNOWN
    assert await claim(worker) == []
    assert await worker.cancels("host.1", [delivery.id]) == [None]
    assert await worker.cancel("thumbnails/1", b"", 0.0) is Cancelled.ASKED
    marks = await worker.cancels("host.1", [delivery.id, "thumbnails/2"])
    sealer = Sealer(shop.app.rows.secrets, "outcome")
    assert genuine_cancels(sealer, [delivery.id, "thumbnails/2"], marks) == [delivery.id]
    worker._in_hand[delivery.id].row.n = 7
    outcome = ended(sealer, delivery.id, "x", JobCancelled, "cancelled")
    answers, _ = await worker.finish("host.1", [Finish(delivery, outcome, Status.CANCELLED, 0.0)])
    assert answers == [Settled.DONE]
    assert (shop.row().status, shop.row().n) == ("CANCELLED", 0)


@pytest.mark.parametrize("how", ["update", "command"])
async def test_the_worker_of_a_row_that_is_cancelled_hears_of_it_by_its_look_each_second(
    shop: Shop, worker: RowBroker, keeper: RowBroker, how: str
) -> None:
    shop.fill(2)
    await claim(worker)
    heard: list[str] = []
    listening = asyncio.create_task(
        worker.listen("host.1", lambda notices: heard.extend(each.id for each in notices), lambda: None)
    )
    if how == "update":
        shop.set(status="CANCELLED")
    else:
        assert await keeper.cancel("thumbnails/1", b"", 0.0) is Cancelled.ASKED
    await wait_until_async(lambda: bool(heard), description="the cancel is heard of")
    listening.cancel()
    assert set(heard) == {"thumbnails/1"}
    assert LOOK <= 1.0, "seconds between two looks"


async def test_a_failed_row_is_replayed_or_set_aside(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    claimed = await claim(worker)
    outcome = ended(Sealer(shop.app.rows.secrets, "outcome"), "x", "x", WorkerLost, "bad")
    await worker.finish("host.1", [Finish(each, outcome, Status.FAILED, 0.0) for each in claimed[:2]])
    reader = inspect(worker)
    assert {letter.id for letter in await reader.dead()} == {"thumbnails/1", "thumbnails/2"}
    latest, other = await reader.letters()
    assert latest.queue == "thumbnails"
    assert await reader.letters((latest.at, latest.id)) == [other]
    assert await reader.letters((other.at, other.id)) == []
    asked = ["thumbnails/1", "thumbnails/3", "thumbnails/9"]
    assert await worker.replay(asked) == [Replayed.DONE, Replayed.OUTDATED, Replayed.MISSING]
    assert await worker.discard(["thumbnails/2"]) == [Replayed.DONE]
    assert [row.status for row in shop.rows()] == ["PENDING", "CANCELLED", "RUNNING"]
    assert await reader.dead() == []


async def test_nothing_is_pushed(worker: RowBroker) -> None:
    with pytest.raises(ConfigError, match="INSERT"):
        await worker.push("client", 1, [])


# ---- what people read


async def test_an_inspector_counts_and_lists(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(5)
    shop.add(shop.mail(id="12e34", due_at=datetime.now(UTC) + timedelta(hours=1)))
    await claim(worker, 2)
    reader = inspect(keeper)
    counts = {
        queue.name: (queue.pending, queue.running, queue.scheduled, queue.consumers) for queue in await reader.queues()
    }
    assert counts == {"thumbnails": (3, 2, 0, 1), "mails": (0, 0, 1, 1)}
    assert len(await reader.jobs()) == 6
    assert [job.id for job in await reader.jobs(status=Status.SCHEDULED)] == ["mails/12e34"]
    assert [job.id for job in await reader.jobs(queue="thumbnails", limit=2)] == [
        "thumbnails/1",
        "thumbnails/2",
    ]
    job = await reader.job("thumbnails/1")
    assert job is not None
    assert (job.status, job.worker) == (Status.RUNNING, "host.1")
    assert await reader.job("thumbnails/77") is None
    assert await reader.is_waiting(["thumbnails"])
    assert not await reader.is_waiting(["mails"])
    assert [each.incarnation for each in await reader.workers()] == ["host.1"]
    facts = await reader.facts()
    assert facts.kind in ("SQLite", "PostgreSQL")
    assert abs(facts.time - time.time()) < 60
