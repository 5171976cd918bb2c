"""What tells an idle worker of new rows on PostgreSQL: every INSERT that goes through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session

from aiotask import App
from aiotask.brokers.sql.wake import CHANNEL
from aiotask.sql import RowJob, create_tables

from .shop import Shop


class Heard:
    """What a connection that listens has heard."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def take(self) -> list[str]:
        """The payloads since the last call: a notification is here as soon as a later one of this connection is."""
        self._connection.execute(f"NOTIFY {CHANNEL}, 'end'")
        found: list[str] = []
        for each in self._connection.notifies():
            if each.payload == "end":
                break
            found.append(each.payload)
        return found

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def shop(postgres_url: str) -> Shop:
    return Shop(postgres_url)


@pytest.fixture
def heard(postgres_url: str) -> Iterator[Heard]:
    heard = Heard(postgres_url)
    yield heard
    heard.close()


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    """An engine of the user's own, which aiotask has never seen."""
    engine = sa.create_engine(postgres_url)
    yield engine
    engine.dispose()


INSERTS: dict[str, Callable[[Session, Any], Any]] = {
    "a flush": lambda session, model: session.add_all([model(), model()]),
    "insert of the class": lambda session, model: session.execute(sa.insert(model), [{"n": 1}, {"n": 2}]),
    "insert that returns": lambda session, model: session.scalars(
        sa.insert(model).returning(model), [{"n": 1}, {"n": 2}]
    ).all(),
    "insert of the table": lambda session, model: session.execute(sa.insert(model.__table__).values(n=1)),
    "insert from a query": lambda session, model: session.execute(
        sa.insert(model).from_select(["n"], sa.select(sa.literal(1)))
    ),
    "bulk_insert_mappings": lambda session, model: session.bulk_insert_mappings(model, [{"n": 1}, {"n": 2}]),
    "bulk_save_objects": lambda session, model: session.bulk_save_objects([model(), model()]),
}


@pytest.mark.parametrize("how", INSERTS)
def test_whatever_inserts_rows_tells_once_as_it_commits(shop: Shop, heard: Heard, engine: sa.Engine, how: str) -> None:
    with Session(engine) as session:
        INSERTS[how](session, shop.thumbnail)
        INSERTS[how](session, shop.thumbnail)
        session.flush()
        assert heard.take() == []
        session.commit()
        assert heard.take() == ["thumbnails"]
        INSERTS[how](session, shop.thumbnail)
        session.rollback()
        assert heard.take() == []


def test_what_a_savepoint_has_told_is_told_again_if_it_is_rolled_back(
    shop: Shop, heard: Heard, engine: sa.Engine
) -> None:
    with Session(engine) as session:
        with session.begin_nested() as savepoint:
            session.execute(sa.insert(shop.thumbnail).values(n=1))
            savepoint.rollback()
        session.execute(sa.insert(shop.thumbnail).values(n=1))
        session.commit()
    assert heard.take() == ["thumbnails"]


def test_a_connection_without_transactions_tells_of_each_insert(shop: Shop, heard: Heard, engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(2):
            connection.execute(sa.insert(shop.thumbnail.__table__).values(n=1))
            assert heard.take() == ["thumbnails"]


def test_a_transaction_of_two_phases_which_may_not_notify_does_not(shop: Shop, engine: sa.Engine) -> None:
    statements: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    with engine.connect() as connection, connection.begin_twophase() as transaction:
        connection.execute(sa.insert(shop.thumbnail.__table__).values(n=1))
        transaction.rollback()
    assert any("INSERT" in statement for statement in statements)
    assert not any("pg_notify" in statement for statement in statements)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_an_async_session_tells(shop: Shop, heard: Heard, postgres_url: str, driver: str) -> None:
    engine = create_async_engine(postgres_url.replace("+psycopg", f"+{driver}"))
    async with AsyncSession(engine) as session:
        await session.execute(sa.insert(shop.thumbnail), [{"n": 1}, {"n": 2}])
        await session.commit()
    await engine.dispose()
    assert heard.take() == ["thumbnails"]


def test_a_class_that_does_not_notify_tells_nothing(postgres_url: str, heard: Heard, engine: sa.Engine) -> None:
    app = App("shop", database=postgres_url)

    class Base(DeclarativeBase):
        pass

    @app.row(notify=False)
    class Quiet(RowJob, Base):
        __tablename__ = "quiet"
        id = sa.orm.mapped_column(sa.Integer, primary_key=True)

        def run(self) -> None: ...

    create_tables(app)
    with Session(engine) as session:
        session.add(Quiet())
        session.execute(sa.insert(Quiet).values(id=7))
        session.commit()
    assert heard.take() == []
