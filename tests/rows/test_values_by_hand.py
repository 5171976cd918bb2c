"""Values in the columns of aiotask that other programs have set: they break no claim, and no other row."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.broker import Settled
from aiotask.brokers.sql.broker import RowBroker
from aiotask.sql import RowJob, create_tables

from .driver import work
from .shop import Shop, claim, finish, ids
from .test_running import app as app
from .test_running import base as base
from .test_running import rows_of


async def test_a_row_that_was_claimed_as_often_as_can_be_counted_runs(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    shop.set(2, claims=2**31 - 1)
    deliveries = await claim(worker)
    assert ids(deliveries) == ["thumbnails/1", "thumbnails/2", "thumbnails/3"]
    assert [row.claims for row in shop.rows()] == [1, 1, 1]
    assert await finish(worker, *deliveries) == [Settled.DONE] * 3


async def test_a_row_of_less_than_no_deaths_is_one_of_none(shop: Shop, worker: RowBroker) -> None:
    shop.fill(3)
    shop.set(2, deaths=-5)
    deliveries = await claim(worker)
    assert ids(deliveries) == ["thumbnails/2", "thumbnails/1", "thumbnails/3"]
    assert [(each.suspect, each.meta.deaths) for each in deliveries] == [(False, 0)] * 3
    assert await finish(worker, *deliveries) == [Settled.DONE] * 3


async def test_deaths_are_counted_as_far_as_their_column_goes(shop: Shop, worker: RowBroker, keeper: RowBroker) -> None:
    shop.fill(2)
    shop.set(1, deaths=2**15 - 1, status="RUNNING", worker="host.1")
    assert ids(await claim(worker)) == ["thumbnails/2"]
    await keeper.recover("host.1", blame=["thumbnails/1"], reason="killed")
    assert [(row.status, row.deaths) for row in shop.rows()] == [("PENDING", 2**15 - 1), ("PENDING", 0)]


@pytest.mark.parametrize(
    "values", [{"claims": 2**31 - 1}, {"claims": -(2**31)}, {"deaths": -1}, {"priority": -(2**15)}]
)
async def test_such_rows_run_beside_others(app: App, base: type[DeclarativeBase], values: dict[str, int]) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2, 3))
    with app.session() as session:
        session.execute(sa.update(Mail).where(Mail.id == 2).values(**values))
    await work(app)
    assert [row.status for row in rows_of(app, Mail)] == ["SUCCESS"] * 3


async def test_columns_may_be_called_as_parameters_of_aiotask_are(app: App, base: type[DeclarativeBase]) -> None:
    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)
        me: Mapped[str] = mapped_column(default="me")
        keys: Mapped[int] = mapped_column(default=1)
        most: Mapped[int] = mapped_column(default=1)
        since: Mapped[int] = mapped_column(default=1)
        live: Mapped[int] = mapped_column(default=1)
        key: Mapped[int] = mapped_column(default=1)

        def run(self) -> None:
            self.most += self.attempt if self.id == 2 else 0

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in (1, 2, 3))
    await work(app)
    found: list[Any] = [(row.status, row.me, row.keys, row.most, row.since) for row in rows_of(app, Mail)]
    assert found == [("SUCCESS", "me", 1, 1, 1), ("SUCCESS", "me", 1, 2, 1), ("SUCCESS", "me", 1, 1, 1)]
