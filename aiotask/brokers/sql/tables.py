"""aiotask's own tables in the user's database, and the types of columns that it adds to the user's tables.

They belong to the MetaData of the user's models, so that migrations find them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

__all__ = ["Tables", "UtcDateTime", "add_tables", "new_tables", "statement_time", "utcnow"]

#: Characters of the names of hosts and incarnations.
NAME = 120


class UtcDateTime(TypeDecorator[datetime]):
    """Moments, aware and in UTC, also in a database that keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone. Use datetime.now(timezone.utc).")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utcnow(FunctionElement[datetime]):
    """The moment of the statement, by the clock of the database."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utcnow)
def _standard(element: utcnow, compiler: Any, **options: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(utcnow, "postgresql")
def _postgresql(element: utcnow, compiler: Any, **options: Any) -> str:
    return "clock_timestamp()"


class statement_time(utcnow):
    """The same for comparisons: PostgreSQL finds rows in an index by a function that does not change in a statement."""

    inherit_cache = True


@compiles(statement_time, "postgresql")
def _postgresql_statement(element: statement_time, compiler: Any, **options: Any) -> str:
    return "statement_timestamp()"


@compiles(utcnow, "sqlite")
def _sqlite(element: utcnow, compiler: Any, **options: Any) -> str:
    # Text with six digits of a second, as SQLAlchemy writes moments: they are compared as text.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class Tables:
    """aiotask's own tables, as one MetaData holds them."""

    def __init__(self, workers: sa.Table, hosts: sa.Table, outbox: sa.Table) -> None:
        self.workers = workers
        self.hosts = hosts
        self.outbox = outbox

    def __iter__(self) -> Any:
        return iter((self.workers, self.hosts, self.outbox))


def add_tables(metadata: sa.MetaData, schema: str | None = None) -> Tables:
    """aiotask's own tables in a MetaData, added where they are missing.

    ``@app.row`` adds them to the MetaData of the first row class. For an app that has no rows and sends jobs in
    transactions, call it where the models are, so that migrations find the tables: ``add_tables(Base.metadata)``. The
    outbox is always in the default schema: connections that know no row class insert into it.
    """
    return Tables(_workers(metadata, schema), _hosts(metadata, schema), _outbox(metadata, None))


def new_tables(schema: str | None) -> Tables:
    """aiotask's own tables in a MetaData of their own, for processes that do not import the user's."""
    return add_tables(sa.MetaData(), schema)


def _table(metadata: sa.MetaData, schema: str | None, name: str, *columns: sa.Column[Any], **options: Any) -> sa.Table:
    known = metadata.tables.get(name if schema is None else f"{schema}.{name}")
    if known is not None:
        return known
    # BLANK_SCHEMA: without a schema, also in a MetaData that has one.
    return sa.Table(name, metadata, *columns, schema=schema or sa.BLANK_SCHEMA, **options)


def _workers(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """The incarnations that are live; ``facts`` is msgpack."""
    columns = sa.Column("incarnation", sa.String(NAME), primary_key=True), sa.Column("host", sa.String(NAME))
    return _table(metadata, schema, "aiotask_workers", *columns, sa.Column("facts", sa.LargeBinary))


def _hosts(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """The lease counters of hosts."""
    columns = sa.Column("host", sa.String(NAME), primary_key=True), sa.Column("beat", sa.BigInteger)
    return _table(metadata, schema, "aiotask_hosts", *columns)


def _outbox(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """Jobs that wait for the commit of their transaction, and then for the relay.

    ``push`` is the msgpack of ``broker.Push``. ``batch`` is empty until a relay has put the job into a batch.
    """
    return _table(
        metadata,
        schema,
        "aiotask_outbox",
        # SQLite counts only a plain INTEGER by itself.
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("app", sa.String(100), nullable=False),
        sa.Column("push", sa.LargeBinary, nullable=False),
        sa.Column("batch", sa.String(32), index=True),
        sa.Column("created_at", UtcDateTime, nullable=False, server_default=sa.func.current_timestamp()),
        # No number is used twice, also where the relay has emptied the table in between: sessions remember rows by it.
        sqlite_autoincrement=True,
    )
