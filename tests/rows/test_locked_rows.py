"""Locks of the user's transactions on rows that run, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until_async
from .driver import working
from .test_running import base as base
from .test_running import rows_of


@pytest.fixture
def user(postgres_url: str) -> Iterator[sa.Connection]:
    """A connection of another program."""
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("deletes", [False, True])
async def test_a_locked_row_ends_once_it_is_free_and_the_others_need_not_wait(
    postgres_url: str, base: type[DeclarativeBase], user: sa.Connection, deletes: bool
) -> None:
    app, gate = App("shop", database=postgres_url), asyncio.Event()

    @app.row(delete_when_done=deletes)
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0, server_default="0")

        async def run(self) -> None:
            await gate.wait()

    def unfinished() -> list[Any]:
        return [row.id for row in rows_of(app, Mail) if row.status in ("PENDING", "RUNNING")]

    create_tables(app)
    with app.session() as session:
        session.add_all(Mail(id=n) for n in range(1, 6))
    async with working(app):
        await wait_until_async(
            lambda: {row.status for row in rows_of(app, Mail)} == {"RUNNING"}, description="all rows run"
        )
        user.execute(sa.text("UPDATE mails SET n = 7 WHERE id = 3"))
        gate.set()
        with app.session() as session:
            session.execute(sa.text("INSERT INTO mails (id) SELECT g FROM generate_series(6, 20) g"))
        await wait_until_async(lambda: unfinished() == [3], description="all rows but the locked one have ended")
        user.commit()
        await wait_until_async(lambda: not unfinished(), description="the last row has ended")
    assert [(row.id, row.n) for row in rows_of(app, Mail) if row.n] == ([] if deletes else [(3, 7)])


async def test_a_row_to_which_another_one_is_being_linked_ends_meanwhile(
    postgres_url: str, base: type[DeclarativeBase], user: sa.Connection
) -> None:
    app, gate = App("shop", database=postgres_url), asyncio.Event()

    @app.row
    class Mail(RowJob, base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        async def run(self) -> None:
            await gate.wait()

    class Part(base):
        __tablename__ = "parts"
        id: Mapped[int] = mapped_column(primary_key=True)
        mail: Mapped[int] = mapped_column(sa.ForeignKey("mails.id"))

    create_tables(app)
    with app.session() as session:
        session.add(Mail(id=1))
    async with working(app):
        await wait_until_async(lambda: rows_of(app, Mail)[0].status == "RUNNING", description="the row runs")
        user.execute(sa.insert(Part).values(id=1, mail=1))
        gate.set()
        await wait_until_async(lambda: rows_of(app, Mail)[0].status == "SUCCESS", description="the row has ended")
        user.commit()
