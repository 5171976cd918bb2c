"""An app's database: addresses, transactions with the write lock, forks, and errors in aiotask's words."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from aiotask import App
from aiotask.brokers.sql import network
from aiotask.brokers.sql.address import DatabaseAddress
from aiotask.brokers.sql.database import Database
from aiotask.brokers.sql.tables import add_tables, utcnow
from aiotask.errors import BrokerError, ConfigError, ConnectionLost


def late(url: str) -> sa.Engine:
    """An engine as pysqlite has it by default: it begins before the first write."""
    return sa.create_engine(url)


def never(url: str) -> sa.Engine:
    """An engine in autocommit of the driver: without a begin of its own."""
    engine = sa.create_engine(url)

    @event.listens_for(engine, "connect")
    def connect(connection, record):
        connection.isolation_level = None

    return engine


def real(url: str) -> sa.Engine:
    """An engine with real transactions, as SQLAlchemy's documentation shows it."""
    engine = never(url)

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


KINDS = [str, late, never, real]


def test_a_url_is_checked_without_sqlalchemy_and_shown_without_its_password():
    app = App("shop", database="postgresql://shop:hidden@db.example/shop")
    assert app.database.shown == "postgresql://shop:***@db.example/shop"
    assert app.database.travels == "postgresql://shop:hidden@db.example/shop"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("shop.db", "no database"),
        ("mysql://root@localhost/shop", "SQLite or PostgreSQL"),
        ("redis://localhost", "SQLite or PostgreSQL"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        (3, "no database"),
    ],
)
def test_what_is_no_database_is_refused_with_what_would_be_one(given, words):
    with pytest.raises(ConfigError, match=words):
        App("shop", database=given)


def test_the_environment_names_the_database(monkeypatch, sqlite_url):
    app = App("shop")
    assert not app.database
    with pytest.raises(ConfigError, match="AIOTASK_DATABASE"):
        app.session()
    monkeypatch.setenv("AIOTASK_DATABASE", sqlite_url)
    with app.session() as session:
        assert session.scalar(sa.select(1)) == 1


def test_a_relative_file_stays_where_it_was_when_the_current_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = DatabaseAddress("sqlite:///shop.db")
    monkeypatch.chdir("/")
    assert address.travels == f"sqlite:///{tmp_path}/shop.db"


def test_a_function_an_engine_and_a_name_lead_to_the_same_database(sqlite_url, tmp_path, monkeypatch):
    (tmp_path / "its_engine.py").write_text(f"import sqlalchemy\nengine = sqlalchemy.create_engine({sqlite_url!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    engine = sa.create_engine(sqlite_url)
    for given in (engine, lambda: engine, "its_engine:engine", sqlite_url):
        assert Database(given).engine.url.database == engine.url.database


def test_a_name_that_leads_nowhere_is_refused():
    with pytest.raises(ConfigError, match="cannot be found"):
        _ = Database("no_such_module:engine").engine
    with pytest.raises(ConfigError, match="not to an Engine"):
        _ = Database("os:sep").engine


@pytest.mark.parametrize("make", KINDS)
def test_two_writers_that_read_first_wait_for_each_other(sqlite_url: str, make: Callable[[str], object]):
    database = Database(make(sqlite_url))
    numbers = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer))
    with database.writing() as connection:
        numbers.create(connection)
        connection.execute(sa.insert(numbers).values(n=0))

    def count() -> None:
        for _ in range(20):
            with database.writing() as connection:
                n = connection.execute(sa.select(numbers.c.n)).scalar_one()
                connection.execute(sa.update(numbers).values(n=n + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert connection.execute(sa.select(numbers.c.n)).scalar_one() == 80


@pytest.mark.parametrize("make", KINDS)
def test_an_error_in_the_block_rolls_everything_back(sqlite_url: str, make: Callable[[str], object]):
    database = Database(make(sqlite_url))
    numbers = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer))
    with database.writing() as connection:
        numbers.create(connection)
    with pytest.raises(RuntimeError), database.session() as session:
        session.execute(sa.insert(numbers).values(n=1))
        raise RuntimeError
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(numbers)).scalar_one() == 0


def test_a_child_uses_no_connection_of_its_parent(database_url: str):
    database = Database(database_url)
    inside = sa.select(sa.literal(1)) if database.is_sqlite else sa.text("SELECT pg_backend_pid()")
    with database.reading() as connection:
        mine = connection.execute(inside).scalar_one()
        held = connection.connection.driver_connection
    child = os.fork()
    if not child:
        code = 1
        try:
            with database.reading() as connection:
                its, other = connection.execute(inside).scalar_one(), connection.connection.driver_connection
            code = 0 if other is not held and (database.is_sqlite or its != mine) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with database.reading() as connection:
        assert connection.execute(inside).scalar_one() == mine


def test_the_own_tables_are_made_and_their_clock_is_aware(database_url: str):
    database, metadata = Database(database_url), sa.MetaData()
    tables = add_tables(metadata)
    assert add_tables(metadata).outbox is tables.outbox
    metadata.create_all(database.engine)
    with database.writing() as connection:
        connection.execute(sa.insert(tables.outbox).values(app="shop", push=b"x"))
        row = connection.execute(sa.select(tables.outbox, utcnow().label("now"))).one()
    assert row.created_at.utcoffset().total_seconds() == 0
    assert abs((row.now - row.created_at).total_seconds()) < 60
    assert row.seq == 1


def test_a_missing_table_is_named_with_what_makes_it(database_url: str):
    with pytest.raises(BrokerError, match="create_tables"), Database(database_url).reading() as connection:
        connection.execute(sa.select(add_tables(sa.MetaData()).workers))


def test_a_missing_column_is_told_apart_since_create_tables_adds_none(database_url: str):
    database = Database(database_url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE plain (id INTEGER)")
    with pytest.raises(BrokerError, match="aiotask sql --check") as refused, database.reading() as connection:
        connection.exec_driver_sql("SELECT claims FROM plain")
    assert "create_tables" not in str(refused.value)
    with pytest.raises(BrokerError, match="A column is missing"), database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO plain (claims) VALUES (1)")


def test_a_database_that_its_server_does_not_have_is_refused_with_the_address_to_check(postgres_url: str):
    url = sa.make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False)
    with pytest.raises(ConnectionLost, match=r"refuses the connection.*AIOTASK_DATABASE"), Database(url).reading():
        pass


def test_a_database_that_is_not_there_is_a_lost_connection(tmp_path: Path):
    database = Database(f"postgresql://shop@/shop?host={tmp_path}")
    with pytest.raises(ConnectionLost, match="does not answer"), database.reading():
        pass


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="mkdir"):
        _ = Database(f"sqlite:///{tmp_path}/data/queue.db").engine


@pytest.mark.parametrize(("kind", "is_refused"), [("nfs4", True), ("ext4", False)])
def test_a_file_on_a_network_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_refused: bool
):
    mounts = tmp_path / "mounts"
    folder = tmp_path / "shared disk"
    folder.mkdir()
    place = str(folder).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/disk {place} {kind} rw 0 0\n")
    monkeypatch.setattr(network, "MOUNTS", mounts)
    database = Database(f"sqlite:///{folder}/rows.db")
    if is_refused:
        with pytest.raises(ConfigError, match="network disk"):
            _ = database.engine
    else:
        assert database.is_sqlite


@pytest.mark.parametrize(
    ("driver", "query", "threshold"),
    [
        ("psycopg", "prepare_threshold=none", None),
        ("psycopg", "prepare_threshold=3", 3),
        ("asyncpg", "prepared_statement_cache_size=0", None),
        ("asyncpg", "statement_cache_size=100", 5),
    ],
)
def test_prepared_statements_are_switched_off_in_the_url(
    postgres_url: str, driver: str, query: str, threshold: int | None
) -> None:
    database = Database(f"{postgres_url.replace('+psycopg', f'+{driver}')}&{query}")
    with database.reading() as connection:
        driver_connection: Any = connection.connection.driver_connection
        assert driver_connection.prepare_threshold == threshold
    database.dispose()


async def test_prepared_statements_are_switched_off_for_event_loops_too(postgres_url: str) -> None:
    database = Database(f"{postgres_url}&prepare_threshold=none")
    engine = database.async_engine()
    assert engine is not None
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver_connection: Any = raw.driver_connection
        assert driver_connection.prepare_threshold is None
    await engine.dispose()


def test_a_threshold_that_is_no_number_is_refused(postgres_url: str) -> None:
    with pytest.raises(ConfigError, match='give "none"'):
        _ = Database(f"{postgres_url}&prepare_threshold=never").engine
