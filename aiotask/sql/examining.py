"""What ``aiotask doctor`` asks a database, as facts: whether rows and the outbox work there as they should."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..brokers.sql.database import Database
from ..brokers.sql.facts import TableFacts
from ..brokers.sql.finding import FoundRows, explained, found_in, open_existing
from ..brokers.sql.job_table import is_status, light_table
from ..brokers.sql.network import network_of
from ..brokers.sql.outbox import Outbox, Unrelayed
from ..brokers.sql.tables import new_tables, utcnow
from ..job import Status
from .ddl import Missing, tables_as_found, what_is_missing

__all__ = ["DatabaseFacts", "OldRows", "TableLacks", "examine"]

#: Seconds that PostgreSQL has for each statement.
STATEMENT_TIMEOUT = 10
#: Seconds within which a notification has to arrive.
HEARING_TIMEOUT = 2.0
#: Rows that wait and are looked at, the first of their queue.
LOOKED_AT = 10_000


class OldRows(NamedTuple):
    """Rows that wait and are older than the first claim of their table, all made at one moment (Unix seconds)."""

    table: str
    number: int
    made_at: float


class TableLacks(NamedTuple):
    """Privileges on a table that the user of the database lacks."""

    table: str
    privileges: list[str]


class DatabaseFacts(NamedTuple):
    """What was found out about a database."""

    version: str
    #: Seconds of a round trip.
    trip: float
    #: Seconds between its clock and that of this machine; 0 for a file.
    clock: float
    #: Of SQLite: the journal mode before this process opened the file, and the kind of a network disk.
    journal: str
    network_disk: str
    #: Why nothing can be written; empty: it can.
    read_only: str
    #: Whether a transaction begins with its first statement, whatever that is.
    begins: bool
    #: Whether notifications arrive; None: SQLite, or a driver that does not tell.
    hears: bool | None
    lacks: list[TableLacks]
    missing: list[Missing]
    #: Empty also where a table is incomplete, or cannot be read.
    old: list[OldRows]
    unrelayed: list[Unrelayed]


def examine(address: str, app: str | None) -> DatabaseFacts:
    """Examine a database.

    Args:
        address: a URL, or ``module:attribute``.
        app: whose rows are looked at; None: those of every app.

    Raises:
        ConfigError: there is no such database, or SQLAlchemy or a driver is not installed.
        BrokerError: the database does not answer, or lacks aiotask's own tables.
    """
    database = open_existing(address)
    path = _path(database)
    journal = _journal_of(path) if path else ""
    try:
        with explained(address), database.reading() as connection:
            return _examined(database, connection, address, app, path, journal)
    finally:
        database.dispose()


def _examined(
    database: Database, connection: Connection, address: str, app: str | None, path: str, journal: str
) -> DatabaseFacts:
    if not database.is_sqlite:
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}s'")
    version, trip, clock = _clock(connection)
    found = found_in(connection, address, app)
    missing = list(dict.fromkeys(each for rows in found for each in what_is_missing(connection, _tables(rows))))
    broken = {each.table for each in missing if each.kind != "index"}
    lacks = [] if path else list(_lacks(connection, found, broken))
    readable = not broken and not any("SELECT" in each.privileges for each in lacks)
    schemas = {rows.facts.schema for rows in found} or {None}
    tables = [table for rows in found for table in rows.facts.tables]
    return DatabaseFacts(
        version,
        trip,
        0.0 if path else clock,
        journal,
        network_of(Path(path).parent) if path else "",
        _why_read_only(connection, path),
        _begins(database),
        None if path else _hears(database),
        lacks,
        missing,
        [old for table in tables if readable and (old := _old_rows(connection, table)) is not None],
        [each for schema in schemas if readable for each in Outbox.unrelayed(database, schema)],
    )


def _tables(rows: FoundRows) -> list[sa.Table]:
    return tables_as_found(rows.facts)


def _clock(connection: Connection) -> tuple[str, float, float]:
    """The version, and the seconds of a round trip and of the difference between the clocks."""
    name = "SQLite" if connection.dialect.name == "sqlite" else "PostgreSQL"
    number = "SELECT sqlite_version()" if name == "SQLite" else "SHOW server_version"
    version = f"{name} {connection.exec_driver_sql(number).scalar_one()}"
    trips = []
    for _ in range(5):
        began = time.perf_counter()
        connection.execute(sa.select(sa.literal(1))).scalar_one()
        trips.append(time.perf_counter() - began)
    before = time.time()
    there = connection.execute(sa.select(utcnow())).scalar_one().timestamp()
    apart = max(before - there, there - time.time(), 0.0)
    return version, sorted(trips)[2], apart


# ---- the file of SQLite


def _path(database: Database) -> str:
    """The path of an SQLite file; empty: the database is another one, or a URI."""
    path = str(database.engine.url.database)
    return path if database.is_sqlite and not path.startswith("file:") else ""


def _journal_of(path: str) -> str:
    """The journal mode, asked without changing it: engines of aiotask set WAL as they connect."""
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    except sqlite3.Error:
        return ""


# ---- transactions and privileges


def _why_read_only(connection: Connection, path: str) -> str:
    if path:
        closed = [each for each in (path, str(Path(path).parent)) if not os.access(each, os.W_OK)]
        return f"this user may not write {closed[0]}" if closed else ""
    if connection.dialect.name != "postgresql":
        return ""
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        return "the server is a replica"
    mode = connection.exec_driver_sql("SHOW transaction_read_only").scalar_one()
    return "transactions are read-only (default_transaction_read_only)" if mode == "on" else ""


def _begins(database: Database) -> bool:
    """Whether two statements are in one transaction, that of the engine as the app has it."""
    with database.engine.connect() as connection, connection.begin():
        if database.is_sqlite:
            connection.exec_driver_sql("SELECT 1").all()
            driver: Any = connection.connection.driver_connection
            return bool(driver.in_transaction)
        # The moment at which the transaction has begun.
        moments = [connection.exec_driver_sql("SELECT now()").scalar_one() for _ in range(2)]
        return bool(moments[0] == moments[1])


def _hears(database: Database) -> bool | None:
    """Whether a notification of one connection arrives at another one, which poolers may prevent."""
    fairy = database.engine.raw_connection()
    listening: Any = fairy.driver_connection
    fairy.detach()
    with closing(listening):
        if not hasattr(listening, "pgconn"):
            return None
        channel = f"aiotask_{secrets.token_hex(8)}"
        try:
            listening.autocommit = True
            listening.execute(f"LISTEN {channel}")
            with database.engine.begin() as connection:
                connection.execute(sa.select(sa.func.pg_notify(channel, "")))
            return any(True for _ in listening.notifies(timeout=HEARING_TIMEOUT, stop_after=1))
        except Exception:  # of the driver: SQLAlchemy does not see this connection
            return False


def _lacks(connection: Connection, found: Iterable[FoundRows], broken: set[str]) -> Iterator[TableLacks]:
    """The privileges that the user of PostgreSQL lacks, on the tables that exist."""
    wanted: dict[str, tuple[sa.Table, list[str]]] = {}
    for rows in found:
        for table in new_tables(rows.facts.schema):
            wanted[table.fullname] = table, ["SELECT", "INSERT", "UPDATE", "DELETE"]
        for facts in rows.facts.tables:
            of_row = ["SELECT", "INSERT", "UPDATE", *(["DELETE"] if facts.delete_when_done else [])]
            wanted[light_table(facts).fullname] = light_table(facts), of_row
    for name, (table, privileges) in wanted.items():
        if name not in broken:
            quoted = connection.dialect.identifier_preparer.format_table(table)
            lacking = [each for each in privileges if not _has(connection, quoted, each)]
            if lacking:
                yield TableLacks(name, lacking)


def _has(connection: Connection, table: str, privilege: str) -> bool:
    return bool(connection.execute(sa.select(sa.func.has_table_privilege(table, privilege))).scalar_one())


# ---- rows that were there before


def _old_rows(connection: Connection, facts: TableFacts) -> OldRows | None:
    """Rows that wait since one moment before the first claim of their table.

    That is what a migration leaves which adds the columns to a table with rows: each is PENDING, with the moment of the
    migration.
    """
    table = light_table(facts)
    c = table.c
    first = connection.execute(sa.select(sa.func.min(c.updated_at)).where(c.claims > 0)).scalar_one_or_none()
    waiting = sa.select(c.created_at).where(is_status(table, Status.PENDING), c.deaths == 0, c.claims == 0)
    if first is not None:
        waiting = waiting.where(c.created_at < first)
    some = waiting.order_by(c.priority, c.due_at, table.c[facts.key]).limit(LOOKED_AT).subquery()
    alike = sa.select(some.c.created_at, sa.func.count()).group_by(some.c.created_at)
    found = connection.execute(alike.order_by(some.c.created_at).limit(1)).first()
    if found is None or found[1] < 2 or (connection.dialect.name == "sqlite" and found[0].microsecond):
        # On SQLite a migration writes whole seconds, and sessions of SQLAlchemy milliseconds.
        return None
    return OldRows(table.fullname, found[1], found[0].timestamp())
