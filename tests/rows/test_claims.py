"""Claims of rows, waiting for them, and the low-water mark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from aiotask.broker import BATCH_JOBS, Liveness
from aiotask.brokers.sql import mark
from aiotask.brokers.sql.broker import RowBroker
from aiotask.errors import BrokerError
from aiotask.job import Meta, Status

from ..helpers import wait_until_async
from .shop import Shop, claim, enlisted, ids

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
    with pytest.raises(BrokerError, match="used only once"):
        await worker.enlist("host.1", "host", b"\x80")
    with pytest.raises(BrokerError):
        await worker.enlist("other.1", "host", b"\x80")


async def test_a_statement_that_the_database_refuses_is_an_error_of_the_broker(shop: Shop, worker: RowBroker) -> None:
    shop.fill(1)
    with shop.app.database.open().writing() as connection:
        if connection.dialect.name == "sqlite":
            body = "BEGIN SELECT RAISE(ABORT, 'not today'); END"
            connection.exec_driver_sql(f"CREATE TRIGGER refuses BEFORE UPDATE ON thumbnails {body}")
        else:
            body = "$$ BEGIN RAISE EXCEPTION 'not today'; END $$"
            connection.exec_driver_sql(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS {body}")
            connection.exec_driver_sql(
                "CREATE TRIGGER refuses BEFORE UPDATE ON thumbnails FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
    with pytest.raises(BrokerError, match="not today"):
        await claim(worker)


async def test_a_claim_keeps_what_one_table_has_given_though_another_one_fails(
    postgres_url: str,
) -> None:
    shop = Shop(postgres_url)
    worker = await enlisted(shop, "host.1")
    assert await claim(worker) == []
    shop.fill(2)
    with shop.app.database.open().writing() as connection:
        connection.exec_driver_sql("ALTER TABLE mails RENAME COLUMN deaths TO gone")
    assert ids(await claim(worker)) == ["thumbnails/1", "thumbnails/2"]
    with pytest.raises(BrokerError, match="aiotask sql --check"):
        await claim(worker)
    with shop.app.database.open().writing() as connection:
        connection.exec_driver_sql("ALTER TABLE mails RENAME COLUMN gone TO deaths")
    shop.add(shop.mail(id="a"))
    assert ids(await claim(worker)) == ["mails/a"]
    await shop.close()


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


# ---- the low-water mark


def claims_of(worker: RowBroker) -> list[str]:
    """The statements by which this worker claims from now on."""
    statements: list[str] = []

    @sa.event.listens_for(worker.database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if "SKIP LOCKED" in statement:
            statements.append(statement)

    return statements


async def test_a_claim_from_the_mark_on_keeps_the_order_and_forgets_no_row(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "MANY", 5)
    shop = Shop(postgres_url)
    worker = await enlisted(shop, "host.1")
    reads = claims_of(worker)
    shop.fill(20)
    assert len(await claim(worker, 10)) == 10
    assert len(reads) == 1
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    shop.add(shop.thumbnail(id=101, priority=0), shop.thumbnail(id=103, due_at=long_ago))
    reads.clear()
    assert ids(await claim(worker, 3)) == ["thumbnails/101", "thumbnails/11", "thumbnails/12"]
    assert any("due_at >=" in statement for statement in reads)
    assert ids(await claim(worker, 100)) == [f"thumbnails/{n}" for n in range(13, 21)]
    assert await claim(worker, 100) == []
    assert ids(await claim(worker, 100)) == ["thumbnails/103"]
    await shop.close()


async def test_a_table_that_a_claim_does_not_come_to_keeps_its_mark(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "MANY", 5)
    shop = Shop(postgres_url)
    worker = await enlisted(shop, "host.1")
    shop.fill(20)
    assert len(await claim(worker, 10)) == 10
    shop.add(shop.mail(id="000012"))
    found = await worker.claim("host.1", ["mails", "thumbnails"], (), 1)
    assert ids(found.deliveries) == ["mails/000012"]
    reads = claims_of(worker)
    assert len(await claim(worker, 3)) == 3
    assert any("due_at >=" in statement for statement in reads)
    await shop.close()


async def test_a_worker_that_was_declared_dead_hears_so_in_place_of_an_empty_claim(
    shop: Shop, worker: RowBroker, keeper: RowBroker
) -> None:
    assert await claim(worker) == []
    shop.fill(1)
    assert await keeper.declare_dead("host")
    found = await worker.claim("host.1", ["thumbnails"], (), 10)
    assert not found.deliveries
    assert found.liveness is not Liveness.LIVE
