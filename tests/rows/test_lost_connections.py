"""The connection breaks: what was to be written is kept, and what was claimed without an answer is found."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.broker import Finish, Settled
from aiotask.brokers.sql.database import Database
from aiotask.errors import ConnectionLost
from aiotask.job import Status
from aiotask.sql import RowJob, create_tables

from ..helpers import wait_until, wait_until_async
from .driver import work, working
from .shop import Shop, claim, enlisted, finish, ids
from .test_database import KINDS
from .test_running import ended, rows_of


def break_all(url: str) -> None:
    """End every other connection to a database."""
    database = Database(url)
    with database.writing() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    database.dispose()


async def test_an_end_is_repeated_with_the_changes_of_its_run(postgres_url: str) -> None:
    shop = Shop(postgres_url)
    worker = await enlisted(shop, "host.1")
    shop.fill(3)
    claimed = await claim(worker)
    for number, delivery in enumerate(claimed):
        worker._in_hand[delivery.id].row.n = 10 + number
    break_all(postgres_url)
    with pytest.raises(ConnectionLost):
        await finish(worker, *claimed)
    assert await finish(worker, *claimed, repeat=True) == [Settled.DONE] * 3
    shop.app.database.open().dispose()
    assert [(row.status, row.n) for row in shop.rows()] == [("SUCCESS", n) for n in (10, 11, 12)]
    await shop.close()


async def test_what_was_claimed_without_an_answer_is_adopted(postgres_url: str) -> None:
    shop = Shop(postgres_url)
    worker = await enlisted(shop, "host.1")
    shop.fill(3)
    [known] = await claim(worker, 1)
    # The server has committed a claim whose answer did not arrive.
    shop.set(2, status="RUNNING", worker="host.1", claims=1)
    break_all(postgres_url)
    with pytest.raises(ConnectionLost):
        await claim(worker)
    again = await worker.claim("host.1", ["thumbnails"], (), 0)
    assert again.reconnected
    adopted = await worker.adopt("host.1", ["thumbnails"], ())
    assert ids(adopted) == ["thumbnails/1", "thumbnails/2"]
    assert (adopted[0].lane, adopted[0].entry) == (known.lane, known.entry)
    batch = [Finish(delivery, b"", Status.SUCCESS, 0.0) for delivery in adopted]
    assert (await worker.finish("host.1", batch))[0] == [Settled.DONE] * 2
    assert not (await worker.claim("host.1", ["thumbnails"], (), 0)).reconnected
    await shop.close()


async def test_a_run_whose_transaction_broke_with_the_connection_runs_again(postgres_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    app = App("shop", database=postgres_url)
    broken: list[int] = []

    @app.row
    class Broken(RowJob, Base):
        __tablename__ = "broken"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            session = object_session(self)
            assert session is not None
            self.n += 1
            session.flush()
            if self.id not in broken:
                broken.append(self.id)
                pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
                with app.database.open().writing() as connection:
                    connection.execute(sa.text(f"SELECT pg_terminate_backend({pid})"))

    create_tables(app)
    with app.session() as session:
        session.add_all(Broken() for _ in range(3))
    async with working(app):
        await wait_until_async(lambda: ended(app, Broken), description="the rows have ended")
    assert [(row.status, row.n, row.attempt) for row in rows_of(app, Broken)] == [("SUCCESS", 1, 1)] * 3


async def test_error_is_called_although_the_connection_breaks_as_the_run_fails(postgres_url: str) -> None:
    """The run is repeated: without a copy of the row, ``error`` could not be called for it."""

    class Base(DeclarativeBase):
        pass

    app = App("shop", database=postgres_url)
    broken: list[int] = []

    @app.row
    class Failing(RowJob, Base):
        __tablename__ = "failing"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            if self.id not in broken:
                broken.append(self.id)
                break_all(postgres_url)
            raise ValueError("planned")

        def error(self, exc: Exception) -> None:
            self.n += 1

    create_tables(app)
    with app.session() as session:
        session.add_all(Failing() for _ in range(3))
    async with working(app):
        await wait_until_async(lambda: ended(app, Failing), description="the rows have ended")
    rows = rows_of(app, Failing)
    assert [(row.status, row.n, row.attempt, row.last_error) for row in rows] == [
        ("FAILED", 1, 1, "ValueError: planned")
    ] * 3
    assert [len(row.failures) for row in rows] == [1] * 3


@pytest.mark.parametrize("make", KINDS[1:])
async def test_rows_run_on_the_users_engine_however_it_begins(sqlite_url: str, make: Any) -> None:
    class Base(DeclarativeBase):
        pass

    class Child(Base):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = make(sqlite_url)
    app = App("shop", database=lambda: engine)

    @app.row
    class Parent(RowJob, Base):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            self.n = 1
            session = object_session(self)
            assert session is not None
            if self.id % 2:
                session.add(Child())
            if self.id % 3 == 0:
                session.flush()
                raise ValueError("undone")

    create_tables(app)
    with app.session() as session:
        session.add_all(Parent() for _ in range(12))
    await work(app)
    expected = [("FAILED", 0) if n % 3 == 0 else ("SUCCESS", 1) for n in range(1, 13)]
    assert [(row.status, row.n) for row in rows_of(app, Parent)] == expected
    with app.session() as session:
        children = session.scalar(sa.select(sa.func.count()).select_from(Child))
    assert children == 4
    engine.dispose()


async def test_a_run_that_breaks_its_connection_each_time_fails_in_the_end(postgres_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    app, runs = App("shop", database=postgres_url), list[int]()

    @app.row
    class Mail(RowJob, Base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            runs.append(self.claims)
            session = object_session(self)
            assert session is not None
            pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
            with app.database.open().writing() as connection:
                connection.execute(sa.text(f"SELECT pg_terminate_backend({pid}, 10000)"))

    create_tables(app)
    with app.session() as session:
        session.add(Mail(id=1))
    async with working(app):
        await wait_until_async(lambda: ended(app, Mail), description="the row has ended")
    [row] = rows_of(app, Mail)
    assert (row.status, len(runs)) == ("FAILED", 11)


async def test_a_transaction_that_was_idle_for_too_long_is_a_failed_run(postgres_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    app, runs = App("shop", database=postgres_url), list[int]()

    @app.row
    class Mail(RowJob, Base):
        __tablename__ = "mails"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None:
            runs.append(self.claims)
            session = object_session(self)
            assert session is not None
            # Of this transaction alone: on a slow machine others are idle for as long.
            session.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 50"))
            pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
            alive = sa.text(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")

            def is_gone() -> bool:
                with app.database.open().reading() as connection:
                    return connection.scalar(alive) is None

            wait_until(is_gone, description="the server has ended the connection")

    create_tables(app)
    with app.session() as session:
        session.add(Mail(id=1))
    async with working(app):
        await wait_until_async(lambda: ended(app, Mail), description="the row has ended")
    [row] = rows_of(app, Mail)
    assert (row.status, len(runs)) == ("FAILED", 1)
    assert "idle" in row.last_error
