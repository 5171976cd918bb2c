"""Tables are queues, and take turns as other queues do: equal ones, by weights, or in strict order."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob, create_tables


@pytest.mark.parametrize("queues", ["urgent>later", "later>urgent"])
async def test_in_strict_order_a_table_waits_for_the_one_before_it(database_url: str, queues: str) -> None:
    class Base(DeclarativeBase):
        pass

    app, ran = App("shop", database=database_url), list[str]()

    @app.row
    class Urgent(RowJob, Base):
        __tablename__ = "urgent"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            ran.append("urgent")

    @app.row
    class Later(RowJob, Base):
        __tablename__ = "later"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            ran.append("later")

    create_tables(app)
    with app.session() as session:
        session.add_all([row() for _ in range(20) for row in (Later, Urgent)])
    async with app.worker(queues=queues, burst=True) as worker:
        await worker.finished()

    first, second = queues.split(">")
    assert ran == [first] * 20 + [second] * 20
