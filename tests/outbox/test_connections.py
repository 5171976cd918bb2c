"""Jobs in transactions of connections that are no Session: inserted as the block ends."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
import sqlalchemy as sa

from aiotask.errors import ConfigError, NotSent

from .shop import ENGINES, Shop


class Sync:
    """One kind of connection: how it is opened, and how its transaction ends."""

    def __init__(self, shop: Shop, connection: Any) -> None:
        self.shop = shop
        self.connection = connection

    def begin(self) -> None: ...

    def execute(self, sql: str) -> None:
        self.connection.execute(sql)


class AutocommitSqlite(Sync):
    def begin(self) -> None:
        self.connection.execute("BEGIN")


class Alchemy(Sync):
    def execute(self, sql: str) -> None:
        self.connection.exec_driver_sql(sql)


@contextlib.contextmanager
def _opened(kind: str, request: pytest.FixtureRequest, name: str) -> Iterator[Sync]:
    url = request.getfixturevalue("postgres_url" if kind in ("psycopg", "postgresql") else "sqlite_url")
    shop = Shop(url, name)
    if kind == "sqlite3":
        with contextlib.closing(sqlite3.connect(shop.driver_url)) as connection:
            yield Sync(shop, connection)
    elif kind == "sqlite3 in autocommit":
        with contextlib.closing(sqlite3.connect(shop.driver_url, isolation_level=None)) as connection:
            yield AutocommitSqlite(shop, connection)
    elif kind == "psycopg":
        with psycopg.connect(shop.driver_url) as connection:
            yield Sync(shop, connection)
    else:
        engine = request.getfixturevalue("make_engine")(kind, url)
        with engine.connect() as connection:
            yield Alchemy(shop, connection)


@pytest.fixture(params=["sqlite3", "sqlite3 in autocommit", "psycopg", *ENGINES])
def case(request: pytest.FixtureRequest, app_name: str) -> Iterator[Sync]:
    with _opened(request.param, request, app_name) as found:
        yield found


def test_commit_and_rollback(case: Sync) -> None:
    shop, connection = case.shop, case.connection
    case.begin()
    with shop.app.in_transaction(connection):
        shop.note.apply_async(1)
        case.execute("INSERT INTO orders (id) VALUES (1)")
        shop.note.apply_async(2)
    assert shop.waiting() == []
    connection.commit()
    case.begin()
    with shop.app.in_transaction(connection):
        case.execute("INSERT INTO orders (id) VALUES (2)")
        result = shop.note.apply_async(3)
    with pytest.raises(NotSent, match="still open"):
        result.get(5)
    connection.rollback()
    with pytest.raises(NotSent, match="rolled back"):
        result.get(5)
    assert (shop.orders(), shop.waiting()) == ([1], [1, 2])


def test_a_savepoint(case: Sync) -> None:
    shop, connection = case.shop, case.connection
    case.begin()
    with shop.app.in_transaction(connection):
        case.execute("INSERT INTO orders (id) VALUES (1)")
        shop.note.apply_async(1)
    case.execute("SAVEPOINT a")
    with shop.app.in_transaction(connection):
        result = shop.note.apply_async(2)
    case.execute("ROLLBACK TO SAVEPOINT a")
    case.execute("RELEASE SAVEPOINT a")
    connection.commit()
    with pytest.raises(NotSent):
        result.get(5)
    assert (shop.orders(), shop.waiting()) == ([1], [1])


def test_an_error_in_the_block_and_jobs_behind_it(case: Sync) -> None:
    shop, connection = case.shop, case.connection
    case.begin()
    with pytest.raises(RuntimeError), shop.app.in_transaction(connection) as outbox:
        case.execute("INSERT INTO orders (id) VALUES (1)")
        result = shop.note.apply_async(1)
        raise RuntimeError
    connection.commit()
    with pytest.raises(NotSent, match="rolled back"):
        result.get(5)
    assert (shop.orders(), shop.waiting(), outbox.jobs) == ([1], [], [])


def test_many_jobs(case: Sync) -> None:
    case.begin()
    with case.shop.app.in_transaction(case.connection):
        for n in range(1200):
            case.shop.note.apply_async(n)
    case.connection.commit()
    assert case.shop.waiting() == list(range(1200))


@pytest.mark.parametrize("kind", ["late", "never"])
def test_a_savepoint_of_sqlalchemy_before_any_write_is_rolled_back_too(
    kind: str, sqlite_shop: Shop, make_engine: Callable[[str, str], sa.Engine]
) -> None:
    with make_engine(kind, sqlite_shop.url).connect() as connection:
        with sqlite_shop.app.in_transaction(connection), connection.begin_nested():
            connection.exec_driver_sql("INSERT INTO orders (id) VALUES (1)")
            sqlite_shop.note.apply_async(1)
        connection.rollback()
    assert (sqlite_shop.orders(), sqlite_shop.waiting()) == ([], [])


# ---- no transaction


def test_sqlite_in_autocommit_is_refused(sqlite_shop: Shop) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_shop.driver_url, isolation_level=None)) as connection:
        with pytest.raises(ConfigError, match="BEGIN"), sqlite_shop.app.in_transaction(connection):
            pass
        connection.execute("BEGIN")
        with pytest.raises(ConfigError, match="BEGIN"), sqlite_shop.app.in_transaction(connection):
            result = sqlite_shop.note.apply_async(1)
            connection.execute("COMMIT")
        with pytest.raises(NotSent):
            result.get(5)
    assert sqlite_shop.waiting() == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the attribute came with Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_the_autocommit_of_later_pythons(sqlite_shop: Shop, autocommit: bool) -> None:
    opened: Any = sqlite3.connect
    with contextlib.closing(opened(sqlite_shop.driver_url, autocommit=autocommit)) as connection:
        if autocommit:
            with pytest.raises(ConfigError, match="BEGIN"), sqlite_shop.app.in_transaction(connection):
                pass
            return
        with sqlite_shop.app.in_transaction(connection):
            sqlite_shop.note.apply_async(1)
        connection.commit()
    assert sqlite_shop.waiting() == [1]


def test_psycopg_in_autocommit(postgres_shop: Shop) -> None:
    shop = postgres_shop
    with psycopg.connect(shop.driver_url, autocommit=True) as connection:
        with pytest.raises(ConfigError, match=r"connection\.transaction"), shop.app.in_transaction(connection):
            pass
        with connection.transaction(), shop.app.in_transaction(connection):
            shop.note.apply_async(1)
        with contextlib.suppress(psycopg.Rollback), connection.transaction(), shop.app.in_transaction(connection):
            shop.note.apply_async(2)
            raise psycopg.Rollback
    assert shop.waiting() == [1]


def test_what_is_no_connection_is_refused(sqlite_shop: Shop) -> None:
    for wrong in (None, sqlite_shop.database.engine, object(), sqlite3):
        with pytest.raises(ConfigError, match="Give a Session"):
            sqlite_shop.app.in_transaction(wrong)


# ---- in event loops


@pytest.fixture
async def aio(sqlite_shop: Shop) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(sqlite_shop.driver_url) as connection:
        yield connection


async def test_aiosqlite(sqlite_shop: Shop, aio: aiosqlite.Connection) -> None:
    shop = sqlite_shop
    async with shop.app.in_transaction(aio):
        shop.note.apply_async(1)
    await aio.commit()
    async with shop.app.in_transaction(aio):
        result = shop.note.apply_async(2)
    with pytest.raises(NotSent, match="still open"):
        await result
    await aio.rollback()
    with pytest.raises(NotSent, match="rolled back"):
        await result
    async with aiosqlite.connect(shop.driver_url, isolation_level=None) as autocommit:
        with pytest.raises(ConfigError, match="BEGIN"):
            async with shop.app.in_transaction(autocommit):
                pass
    with pytest.raises(ConfigError, match="async with"), shop.app.in_transaction(aio):
        pass
    assert shop.waiting() == [1]


async def test_async_psycopg(postgres_shop: Shop) -> None:
    shop = postgres_shop
    async with await psycopg.AsyncConnection.connect(shop.driver_url) as connection:
        async with shop.app.in_transaction(connection):
            shop.note.apply_async(1)
        await connection.commit()
        async with shop.app.in_transaction(connection):
            result = shop.note.apply_async(2)
        with pytest.raises(NotSent, match="still open"):
            await result
        await connection.rollback()
        with pytest.raises(NotSent, match="or block"):
            await result
        with pytest.raises(ConfigError, match="async with"), shop.app.in_transaction(connection):
            pass
    assert shop.waiting() == [1]


async def test_asyncpg(postgres_shop: Shop) -> None:
    shop = postgres_shop
    async with asyncpg.create_pool(shop.driver_url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        with pytest.raises(ConfigError, match=r"connection\.transaction"):
            async with shop.app.in_transaction(connection):
                pass
        async with connection.transaction(), shop.app.in_transaction(connection):
            shop.note.apply_async(1)
        outer = connection.transaction()
        await outer.start()
        async with shop.app.in_transaction(connection):
            kept = shop.note.apply_async(2)
        inner = connection.transaction()
        await inner.start()
        async with shop.app.in_transaction(connection):
            result = shop.note.apply_async(3)
        with pytest.raises(NotSent, match="still open"):
            await result
        await inner.rollback()
        # The number of the savepoint, not of the transaction around it.
        with pytest.raises(NotSent, match="or block"):
            await result
        with pytest.raises(NotSent, match="still open"):
            await kept
        await outer.commit()
    assert shop.waiting() == [1, 2]


def test_nothing_for_event_loops_need_be_installed(sqlite_shop: Shop) -> None:
    """SQLAlchemy 2.1 refuses to import its asyncio part without greenlet."""
    program = f"""
import sqlite3, sys
sys.modules["greenlet"] = None
from aiotask import App
app = App("shop", url="memory://", database={sqlite_shop.url!r})
@app.task(name="shop:note")
def note(n: int) -> None: ...
with sqlite3.connect({sqlite_shop.driver_url!r}) as connection, app.in_transaction(connection) as outbox:
    note.apply_async(1)
print(outbox.jobs[0].args)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "(1,)", done.stderr


def test_jobs_that_could_not_be_inserted_are_not_sent(case: Sync) -> None:
    shop = case.shop
    with shop.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE aiotask_outbox")
    case.begin()
    with (
        pytest.raises(Exception, match="aiotask_outbox") as refused,
        shop.app.in_transaction(case.connection),
    ):
        result = shop.note.apply_async(1)
    assert any("create_tables(app)" in note for note in refused.value.__notes__)
    case.connection.rollback()
    with pytest.raises(NotSent, match="rolled back"):
        result.get(5)
