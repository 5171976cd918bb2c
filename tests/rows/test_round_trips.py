"""How often each verb waits for PostgreSQL, by what its server has written down: BEGIN and COMMIT count too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from aiotask.broker import Settled
from aiotask.brokers.sql import mark
from aiotask.brokers.sql.broker import RowBroker
from aiotask.brokers.sql.database import Database

from ..postgres import PostgresServer
from .shop import Shop, claim, enlisted, finish, ids


class Trips:
    """The statements that a database is asked for, in order."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._log = server.directory / "log"
        database = Database(url)
        with database.writing() as connection:
            name = connection.scalar(sa.text("SELECT current_database()"))
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET log_statement = 'all'")
        database.dispose()
        self._read = 0

    def take(self) -> list[str]:
        """The first words of the statements since the last call."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read().decode()
            self._read = log.tell()
        return re.findall(r"LOG:  (?:statement|execute [^:]+): (\w+)", text)


@pytest.fixture
def trips(postgres_server: PostgresServer, postgres_url: str) -> Trips:
    return Trips(postgres_server, postgres_url)


@pytest.fixture
async def shop(postgres_url: str, trips: Trips) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url)
    yield shop
    await shop.close()


@pytest.fixture
async def worker(shop: Shop, trips: Trips) -> RowBroker:
    """A worker that has looked just now whether it is live, and for suspects."""
    worker = await enlisted(shop, "host.1")
    assert await claim(worker, 0) == []
    worker._claiming._looked_at = float("inf")
    trips.take()
    return worker


async def thumbnails(worker: RowBroker, limit: int = 100) -> list[str]:
    return ids((await worker.claim("host.1", ["thumbnails"], (), limit)).deliveries)


async def test_a_claim_is_one_round_trip_for_each_table(shop: Shop, worker: RowBroker, trips: Trips) -> None:
    shop.fill(30)
    trips.take()
    for _ in range(10):
        assert len(await thumbnails(worker, 2)) == 2
        assert trips.take() == ["WITH"]
    assert len(await claim(worker, 50)) == 10
    assert trips.take() == ["WITH", "WITH"]
    assert await thumbnails(worker) == []
    assert trips.take() == ["WITH"]


async def test_a_claim_from_the_mark_on_ends_with_the_part_that_fills_it(
    shop: Shop, worker: RowBroker, trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mark, "MANY", 5)
    shop.fill(20)
    assert len(await thumbnails(worker, 10)) == 10
    trips.take()
    assert await thumbnails(worker, 3) == ["thumbnails/11", "thumbnails/12", "thumbnails/13"]
    assert trips.take() == ["WITH", "WITH"]


async def test_rows_that_have_changed_nothing_end_in_one_round_trip(
    shop: Shop, worker: RowBroker, trips: Trips
) -> None:
    shop.fill(10)
    deliveries = await claim(worker)
    trips.take()
    assert await finish(worker, *deliveries[:9]) == [Settled.DONE] * 9
    assert trips.take() == ["WITH"]
    worker._in_hand[deliveries[9].id].row.n = 7
    assert await finish(worker, deliveries[9]) == [Settled.DONE]
    assert trips.take() == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert {(row.status, row.claims) for row in shop.rows()} == {("SUCCESS", 1)}


async def test_looks_and_renewals_take_no_transaction(shop: Shop, worker: RowBroker, trips: Trips) -> None:
    shop.fill(1)
    await claim(worker)
    keeper = shop.keeper()
    await keeper.renew("host", 1)
    trips.take()
    await keeper.renew("host", 2)
    assert trips.take() == ["UPDATE"]
    assert await keeper.leases() == {"host": 2}
    assert trips.take() == ["SELECT"]
    assert await worker._ended() == []
    assert trips.take() == ["SELECT"]
