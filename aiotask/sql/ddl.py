"""The DDL of aiotask's own tables and of row tables, and what of it a database lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from ..brokers.sql.facts import RowFacts
from ..brokers.sql.finding import found_in
from ..brokers.sql.job_table import light_table
from ..brokers.sql.tables import Tables, new_tables
from ..errors import BrokerError
from .schema import add_indexes

__all__ = [
    "DIALECTS",
    "HasRows",
    "Missing",
    "statements",
    "tables_as_found",
    "tables_of",
    "tables_there",
    "what_is_missing",
]

#: The dialects, each with the URL that means it.
DIALECTS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}


class RowTables(Protocol):
    """The rows of an app, as far as their tables need it."""

    @property
    def own(self) -> Tables: ...
    @property
    def mapped(self) -> list[sa.Table]: ...


class HasRows(Protocol):
    """An App, as far as its tables need it."""

    @property
    def rows(self) -> RowTables | None: ...


class Missing(NamedTuple):
    """What a database lacks: ``kind`` is ``table``, ``column`` or ``index``; ``name`` is empty for a whole table."""

    kind: str
    table: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.table}" if not self.name else f"{self.kind} {self.name} of {self.table}"


def tables_of(apps: Sequence[HasRows]) -> list[sa.Table]:
    """aiotask's own tables and the row tables of these apps, each once; without an app, the own tables."""
    found: dict[str, sa.Table] = {}
    for app in apps:
        if (rows := app.rows) is not None:
            found |= {table.fullname: table for table in rows.own}
            found |= {table.fullname: table for table in rows.mapped}
    return list(found.values()) or list(new_tables(None))


def tables_as_found(rows: RowFacts) -> list[sa.Table]:
    """aiotask's own tables and the row tables of an app whose classes this process does not have: without the user's
    columns."""
    found = list(new_tables(rows.schema))
    for facts in rows.tables:
        table = light_table(facts)
        add_indexes(table, table.c[facts.key])
        found.append(table)
    return found


def tables_there(connection: Connection, address: str) -> list[sa.Table]:
    """aiotask's own tables and the row tables that are found in the database of a connection."""
    try:
        found = found_in(connection, address, None)
    except BrokerError:
        # aiotask's own tables are missing, and row tables without them are not looked for.
        found = []
    tables = {table.fullname: table for rows in found for table in tables_as_found(rows.facts)}
    return list(tables.values()) or list(new_tables(None))


def statements(tables: Iterable[sa.Table], dialect: str) -> list[str]:
    """The statements that make tables, with their types and indexes, where they do not exist."""
    made: list[str] = []

    def note(element: Any, *args: Any, **options: Any) -> None:
        if isinstance(element, CreateTable | CreateIndex):
            element.if_not_exists = True
        made.append(str(element.compile(dialect=engine.dialect)).strip())

    # Not the driver's paramstyle, which would double each % in a name.
    engine: Any = sa.create_mock_engine(DIALECTS[dialect], note, paramstyle="named")
    by_metadata: dict[int, list[sa.Table]] = {}
    for table in tables:
        by_metadata.setdefault(id(table.metadata), []).append(table)
    for group in by_metadata.values():
        group[0].metadata.create_all(engine, tables=group, checkfirst=False)
    return made


def what_is_missing(connection: Connection, tables: Iterable[sa.Table]) -> list[Missing]:
    """Tables, columns and indexes that the database of a connection lacks."""
    inspector = sa.inspect(connection)
    missing: list[Missing] = []
    for table in tables:
        name, schema, shown = str(table.name), table.schema, table.fullname
        if not inspector.has_table(name, schema):
            missing.append(Missing("table", shown))
            continue
        columns = {column["name"] for column in inspector.get_columns(name, schema)}
        missing += [Missing("column", shown, column.name) for column in table.columns if column.name not in columns]
        indexes = {index["name"] for index in inspector.get_indexes(name, schema)}
        wanted = sorted(str(index.name) for index in table.indexes)
        missing += [Missing("index", shown, index) for index in wanted if index not in indexes]
    return missing
