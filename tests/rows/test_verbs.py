"""The verbs of the broker that rows have, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.broker import BATCH_JOBS, Cancelled, Delivery, Finish, Liveness, Meta, Replayed, Requeue, Settled
from aiotask.brokers.sql import connect, inspect
from aiotask.brokers.sql.broker import RowBroker
from aiotask.errors import BrokerError, ConfigError, JobCancelled, WorkerLost
from aiotask.job import Status
from aiotask.sql import RowJob, create_tables
from aiotask.wire.cancel_marks import genuine_cancels
from aiotask.wire.ended import ended
from aiotask.wire.seal import Sealer

from ..helpers import wait_until_async


class Shop:
    """An app with two row classes, and processes that work on them."""

    def __init__(self, url: str) -> None:
        class Base(DeclarativeBase):
            pass

        self.app = App("shop", database=url)

        @self.app.row
        class Thumbnail(RowJob, Base):
            __tablename__ = "thumbnails"
            id: Mapped[int] = mapped_column(primary_key=True)
            n: Mapped[int] = mapped_column(default=0)

            def run(self) -> None: ...

        @self.app.row
        class Mail(RowJob, Base):
            __tablename__ = "mails"
            id: Mapped[str] = mapped_column(primary_key=True)

            def run(self) -> None: ...

        create_tables(self.app)
        self.thumbnail, self.mail = Thumbnail, Mail
        self._made: list[RowBroker] = []

    def worker(self) -> RowBroker:
        """The broker of a process with the classes; each has rows in hand of its own."""
        rows = self.app.rows
        assert rows is not None
        rows._in_hand = {}
        self._made.append(rows.broker())
        return self._made[-1]

    def keeper(self) -> RowBroker:
        """The broker of a process that knows only what travels."""
        rows = self.app.rows
        assert rows is not None
        self._made.append(connect(rows.facts(), "shop"))
        return self._made[-1]

    def add(self, *rows: Any) -> None:
        with self.app.session() as session:
            session.add_all(rows)

    def fill(self, count: int) -> None:
        self.add(*(self.thumbnail(id=n) for n in range(1, count + 1)))

    def rows(self, model: Any = None) -> list[Any]:
        model = model or self.thumbnail
        with self.app.session() as session:
            return list(session.scalars(sa.select(model).order_by(model.id)))

    def row(self, id: int = 1) -> Any:
        with self.app.session() as session:
            return session.get(self.thumbnail, id)

    def set(self, id: int = 1, **values: Any) -> None:
        with self.app.session() as session:
            session.execute(sa.update(self.thumbnail).where(self.thumbnail.id == id).values(**values))

    async def close(self) -> None:
        for broker in self._made:
            await broker.close()


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    shop = Shop(database_url)
    yield shop
    await shop.close()


@pytest.fixture
async def worker(shop: Shop) -> RowBroker:
    return await enlisted(shop, "host.1")


@pytest.fixture
async def keeper(shop: Shop) -> RowBroker:
    return shop.keeper()


async def enlisted(shop: Shop, name: str) -> RowBroker:
    broker = shop.worker()
    await broker.open()
    await broker.enlist(name, name.rpartition(".")[0], b"\x81\xa6queues\x92\xaathumbnails\xa5mails")
    return broker


async def claim(broker: RowBroker, limit: int = 100, *, name: str = "host.1", alone: bool = False) -> list[Delivery]:
    return (await broker.claim(name, ["thumbnails", "mails"], (), limit, alone=alone)).deliveries


async def finish(broker: RowBroker, *deliveries: Delivery, repeat: bool = False) -> list[Settled]:
    batch = [Finish(delivery, b"", Status.SUCCESS, 0.0) for delivery in deliveries]
    return (await broker.finish("host.1", batch, repeat=repeat))[0]


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.id for delivery in deliveries]


# ---- claim


async def test_rows_come_by_priority_and_then_by_age(shop: Shop, worker: RowBroker) -> None:
    for n, priority in enumerate((9, 5, 0, 5), 1):
        shop.add(shop.thumbnail(id=n, priority=priority))
    assert ids(await claim(worker)) == ["thumbnails/3", "thumbnails/2", "thumbnails/4", "thumbnails/1"]


async def test_a_claimed_row_is_running_and_names_its_worker(shop: Shop, worker: RowBroker) -> None:
    shop.fill(2)
    [delivery] = await claim(worker, 1)
    row = shop.row()
    assert (row.status, row.worker, row.claims, row.attempt) == ("RUNNING", "host.1", 1, 1)
    assert delivery.meta == Meta()
    assert not delivery.suspect
    assert not delivery.returned
    states = await worker.status(["thumbnails/1", "thumbnails/2", "thumbnails/3", "elsewhere/1"])
    assert [state.status for state in states] == [Status.RUNNING, Status.PENDING, None, None]


async def test_a_claim_brings_a_whole_batch_at_most(shop: Shop, worker: RowBroker) -> None:
    shop.fill(BATCH_JOBS + 10)
    assert len(await claim(worker, 10_000)) == BATCH_JOBS
    assert len(await claim(worker, 10_000)) == 10
    assert await claim(worker, 10_000) == []


async def test_a_row_is_lent_to_one_worker(shop: Shop) -> None:
    shop.fill(200)
    workers = {f"host.{n}": await enlisted(shop, f"host.{n}") for n in range(4)}
    claims = await asyncio.gather(*(claim(each, 7, name=name) for _ in range(8) for name, each in workers.items()))
    claimed = [id for found in claims for id in ids(found)]
    assert len(claimed) == len(set(claimed)) == 200


async def test_a_claim_leaves_other_queues_alone(shop: Shop, worker: RowBroker) -> None:
    shop.add(shop.thumbnail(id=1), shop.mail(id="000012"))
    found = (await worker.claim("host.1", ["mails"], (), 10)).deliveries
    assert ids(found) == ["mails/000012"]


async def test_a_row_that_is_due_later_waits(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.add(shop.thumbnail(id=1, due_at=datetime.now(UTC) + timedelta(hours=1)))
    assert shop.row().status == "SCHEDULED"
    moved, left = await keeper.promote()
    assert moved == 0
    assert left is not None
    assert 3500 < left <= 3600
    assert await claim(worker) == []
    shop.set(due_at=datetime.now(UTC) - timedelta(seconds=1))
    keeper = shop.keeper()
    assert (await keeper.promote())[0] == 1
    assert ids(await claim(worker)) == ["thumbnails/1"]


async def test_an_incarnation_that_is_not_live_gets_nothing(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    stranger = shop.worker()
    assert (await stranger.claim("host.7", ["thumbnails"], (), 1)).liveness is Liveness.DEAD
    await keeper.recover("host.1")
    shop.fill(1)

    async def is_told() -> bool:
        claimed = await worker.claim("host.1", ["thumbnails"], (), 1)
        assert claimed.deliveries == []
        return claimed.liveness is Liveness.DEAD

    await wait_until_async(is_told, description="the worker hears that it was declared dead")
    assert shop.row().status == "PENDING"


async def test_a_name_is_live_once(shop: Shop, worker: RowBroker) -> None:
    with pytest.raises(BrokerError, match="live once"):
        await worker.enlist("host.1", "host", b"\x80")
    with pytest.raises(BrokerError):
        await worker.enlist("other.1", "host", b"\x80")


# ---- ends


async def test_an_end_counts_once_and_for_its_claim_alone(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(2)
    first, second = await claim(worker)
    assert await finish(worker, first) == [Settled.DONE]
    assert await finish(worker, first) == [Settled.NOT_YOURS]
    assert await finish(worker, first, repeat=True) == [Settled.BEFORE]
    other = await enlisted(shop, "other.1")
    await keeper.recover("host.1")
    [again] = await claim(other, name="other.1")
    assert (again.id, again.returned) == (second.id, True)
    assert await finish(worker, second, repeat=True) == [Settled.NOT_YOURS]
    assert shop.row(2).status == "RUNNING"
    assert await finish(other, again) == [Settled.DONE]
    assert shop.row(2).claims == 2


async def test_changes_of_a_run_that_lost_its_row_are_dropped(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(1)
    [delivery] = await claim(worker)
    in_hand = worker._in_hand[delivery.id]
    in_hand.row.n = 7
    await keeper.recover("host.1")
    assert await finish(worker, delivery) == [Settled.NOT_YOURS]
    assert (shop.row().n, shop.row().status) == (0, "PENDING")


async def test_a_row_that_was_deleted_meanwhile_harms_no_other(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    claimed = await claim(worker)
    with shop.app.session() as session:
        session.execute(sa.delete(shop.thumbnail).where(shop.thumbnail.id == 2))
    assert await finish(worker, *claimed) == [Settled.DONE, Settled.NOT_YOURS, Settled.DONE]


async def test_a_release_counts_nothing_and_a_retry_counts_an_attempt(shop: Shop, worker: RowBroker) -> None:
    shop.fill(2)
    first, second = await claim(worker)
    batch = [Requeue(first, "thumbnails", first.meta), Requeue(second, "thumbnails", Meta(2), delay=60.0)]
    assert (await worker.requeue("host.1", batch))[0] == [Settled.DONE, Settled.DONE]
    assert (await worker.requeue("host.1", batch, repeat=True))[0] == [Settled.BEFORE, Settled.BEFORE]
    released, retried = shop.rows()
    assert (released.status, released.attempt, released.failures) == ("PENDING", 1, None)
    assert (retried.status, retried.attempt, len(retried.failures)) == ("RETRYING", 2, 1)
    assert retried.due_at > datetime.now(UTC) + timedelta(seconds=50)


# ---- the dead


async def test_a_death_makes_a_suspect_that_runs_alone_and_three_end_it(shop: Shop, keeper: RowBroker) -> None:
    shop.fill(2)
    for death in range(1, 4):
        name = f"host.{death}"
        worker = await enlisted(shop, name)
        claimed = await claim(worker, name=name, alone=death > 1)
        assert claimed[0].id == "thumbnails/1"
        recovered = await keeper.recover(name, blame=["thumbnails/1"], reason="killed by SIGSEGV")
        assert recovered.moved == len(claimed)
        row = shop.row()
        assert (row.status, row.deaths, row.attempt, row.last_error) == ("PENDING", death, 1, "killed by SIGSEGV")
        assert shop.row(2).deaths == 0
    worker = await enlisted(shop, "host.4")
    assert (await worker.claim("host.4", ["thumbnails"], (), 9)).suspects
    assert ids(await claim(worker, name="host.4", alone=True)) == ["thumbnails/1"]
    [delivery] = (await worker.adopt("host.4", [], ()))[:1]
    assert delivery.suspect
    assert delivery.meta == Meta(1, 3, "killed by SIGSEGV")
    outcome = ended(Sealer([shop.app.rows.secrets[0]], "outcome"), delivery.id, "x", WorkerLost, "three died")
    await worker.finish("host.4", [Finish(delivery, outcome, Status.FAILED, 0.0)])
    row = shop.row()
    assert (row.status, row.last_error, len(row.failures)) == ("FAILED", "WorkerLost: three died", 4)


async def test_one_worker_is_asked_to_run_suspects(shop: Shop, keeper: RowBroker) -> None:
    shop.fill(1)
    first = await enlisted(shop, "host.1")
    await claim(first)
    await keeper.recover("host.1", blame=["thumbnails/1"], reason="died")
    workers = {f"host.{n}": await enlisted(shop, f"host.{n}") for n in range(2, 5)}
    asked = [(await each.claim(name, ["thumbnails"], (), 9)).suspects for name, each in workers.items()]
    assert asked.count(True) == 1


async def test_a_scan_gives_back_the_rows_of_all_that_are_not_live(shop: Shop, worker: RowBroker) -> None:
    keeper = shop.keeper()
    shop.fill(BATCH_JOBS + 20)
    while await claim(worker):
        pass
    assert await keeper.recover() == await keeper.recover()
    assert await keeper.declare_dead("host")
    moved, more = 0, True
    while more:
        recovered = await keeper.recover()
        moved, more = moved + recovered.moved, recovered.more
    assert moved == BATCH_JOBS + 20
    assert {row.status for row in shop.rows()} == {"PENDING"}


async def test_rows_to_keep_stay_with_the_keeper_until_it_has_ended_them(shop: Shop, worker: RowBroker) -> None:
    keeper, another = shop.keeper(), shop.keeper()
    shop.fill(2)
    await claim(worker)
    recovered = await keeper.recover("host.1", keep=["thumbnails/2"])
    assert (recovered.moved, ids(recovered.kept)) == (1, ["thumbnails/2"])
    assert (await another.recover()).moved == 0
    [kept] = recovered.kept
    assert (await keeper.requeue("host.1", [Requeue(kept, "thumbnails", Meta(2), delay=5.0)]))[0] == [Settled.DONE]
    assert (shop.row(2).status, shop.row(2).attempt) == ("RETRYING", 2)
    await keeper.recover("host.1")
    assert await inspect(keeper).workers() == []


async def test_leases_and_the_death_of_a_host(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    assert await keeper.renew("host", 1) is Liveness.LIVE
    assert await keeper.renew("other", 7) is Liveness.LIVE
    leases = await keeper.leases()
    assert leases == {"host": 1, "other": 7}
    assert not await keeper.declare_dead("other", 6)
    assert await keeper.declare_dead("other", 7)
    assert list(await keeper.leases()) == ["host"]
    assert await shop.keeper().declare_dead("host")
    assert await keeper.renew("host", 2) is Liveness.DEAD
    assert await inspect(keeper).workers() == []


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


async def test_a_user_may_cancel_with_an_update_and_the_worker_hears_of_it(shop: Shop, worker: RowBroker) -> None:
    shop.fill(2)
    await claim(worker)
    heard: list[str] = []
    listening = asyncio.create_task(
        worker.listen("host.1", lambda notices: heard.extend(each.id for each in notices), lambda: None)
    )
    shop.set(status="CANCELLED")
    await wait_until_async(lambda: bool(heard), description="the cancel is heard of")
    listening.cancel()
    assert set(heard) == {"thumbnails/1"}


async def test_a_failed_row_is_replayed_or_set_aside(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    claimed = await claim(worker)
    outcome = ended(Sealer(shop.app.rows.secrets, "outcome"), "x", "x", WorkerLost, "bad")
    await worker.finish("host.1", [Finish(each, outcome, Status.FAILED, 0.0) for each in claimed[:2]])
    reader = inspect(worker)
    assert {letter.id for letter in await reader.dead()} == {"thumbnails/1", "thumbnails/2"}
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
    assert [job.id for job in await reader.jobs(queue="thumbnails", limit=2, offset=2)] == [
        "thumbnails/3",
        "thumbnails/4",
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


# ---- waiting


async def test_a_wait_ends_as_another_process_commits(shop: Shop, worker: RowBroker) -> None:
    assert await claim(worker) == []
    waiting = asyncio.create_task(worker.wait("host.1", ["thumbnails"], (), 60.0))
    await wait_until_async(lambda: is_waiting(worker), description="the worker waits")
    await asyncio.to_thread(shop.fill, 1)
    assert ids((await waiting).deliveries) == ["thumbnails/1"]


async def is_waiting(worker: RowBroker) -> bool:
    """Whether the wait has reached the place where only a hint wakes it."""
    if worker.database.is_sqlite:
        return worker._wakeup._version >= 0
    return worker._wakeup._listening is not None


async def test_wake_ends_a_wait(shop: Shop, worker: RowBroker) -> None:
    waiting = asyncio.create_task(worker.wait("host.1", ["thumbnails"], (), 60.0))

    async def is_over() -> bool:
        await worker.wake()
        return waiting.done()

    await wait_until_async(is_over, description="the wait is over")
    assert (await waiting).deliveries == []


def test_every_verb_of_the_seam_is_there(sqlite_url: str) -> None:
    from aiotask.broker import Broker

    verbs = [name for name in vars(Broker) if not name.startswith("_")]
    missing = [name for name in verbs if name != "url" and not isinstance(getattr(RowBroker, name, None), Callable)]
    assert missing == []
