"""Rows whose runs send jobs in the transaction of the row."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until_async


async def test_jobs_of_a_run_are_sent_if_its_row_succeeds_and_only_then(database_url: str, app_name: str) -> None:
    app = App(app_name, url="memory://", database=database_url)
    receipts: list[int] = []

    @app.task(name="receipt")
    async def receipt(order: int) -> None:
        receipts.append(order)

    class Base(DeclarativeBase):
        pass

    @app.row
    class Order(RowJob, Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            with app.in_transaction(object_session(self)):
                receipt.apply_async(self.id)
            if self.id % 2:
                raise ValueError("no receipt for this one")

    create_tables(app)
    with app.session() as session:
        session.add_all(Order(id=number) for number in range(1, 7))

    async def done() -> bool:
        await asyncio.sleep(0)
        with app.session() as session:
            ended = session.scalar(sa.select(sa.func.count()).where(Order.status.in_(["SUCCESS", "FAILED"])))
        return ended == 6 and len(receipts) >= 3

    async with app, app.worker():
        await wait_until_async(done, description="the rows have ended, and jobs were sent")
        await app.flush()
    with app.session() as session:
        assert session.scalars(sa.select(Order.id).where(Order.status == "SUCCESS")).all() == [2, 4, 6]
        assert session.scalar(sa.text("SELECT count(*) FROM aiotask_outbox")) == 0
    assert sorted(receipts) == [2, 4, 6]
