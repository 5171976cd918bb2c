"""Which tables of a database are rows, for commands: they import no class of the user's.

Live workers have registered the tables of their app. Other tables are found by their columns; which app they belong to
is not known then, and their queue is the one that a table has by default.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from ...errors import BrokerError, ConfigError
from .address import DatabaseAddress, shown_address
from .database import Database
from .facts import RowFacts, TableFacts, app_in, tables_in
from .job_table import light_table
from .tables import new_tables

__all__ = ["FoundRows", "explained", "find_rows", "found_in", "open_existing"]

#: The columns of ``RowJob``; the key has another name in each table.
ROW_COLUMNS = tuple(
    column.name
    for column in light_table(TableFacts("any", None, "", "", "key", "int")).columns
    if not column.primary_key
)
#: Keys that are read to tell UUIDs from other texts.
_SAMPLE = 20
_HEX = re.compile(r"[0-9a-f]{32}")


class FoundRows(NamedTuple):
    """The rows of one app in a database; ``app`` is empty where it is not known."""

    app: str
    facts: RowFacts


def open_existing(address: str) -> Database:
    """The database at an address; no file of SQLite is made.

    Raises:
        ConfigError: there is no such file, SQLAlchemy or a driver is not installed, or the address leads nowhere.
    """
    if "://" not in address and os.getcwd() not in sys.path:
        # The module is the user's, and found as a worker finds it.
        sys.path.insert(0, os.getcwd())
    database = DatabaseAddress(address).open()
    path = str(database.engine.url.database)
    if database.is_sqlite and not path.startswith("file:") and not Path(path).exists():
        raise ConfigError(
            f'The file "{path}" of the database does not exist. Check --database (AIOTASK_DATABASE); migrations or '
            "aiotask.sql.create_tables(app) make it."
        )
    return database


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """A block in which every error of the database is one of aiotask, which says what can be done."""
    try:
        yield
    except BrokerError as error:
        if not _lacks_privilege(error.__cause__):
            raise
        raise BrokerError(f"{str(error).rstrip('.')}. {_GRANT}") from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        text = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
        what_to_do = _GRANT if _lacks_privilege(error) else "See aiotask doctor."
        raise BrokerError(f"{shown_address(address)}: {text}. {what_to_do}") from error


_GRANT = "Grant the privilege to the user of the URL."


def _lacks_privilege(error: object) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", "") == "42501"


def find_rows(address: str, app: str | None) -> list[FoundRows]:
    """The rows in a database, by app.

    Args:
        address: a URL, or ``module:attribute``.
        app: only of this app. Tables whose app is not known count as its tables. None: of all apps.

    Raises:
        ConfigError: there is no such database, or SQLAlchemy or a driver is not installed.
        BrokerError: the database does not answer, or lacks the tables of aiotask.
    """
    database = open_existing(address)
    try:
        with explained(address), database.reading() as connection:
            return found_in(connection, address, app)
    finally:
        database.dispose()


def found_in(connection: Connection, address: str, app: str | None) -> list[FoundRows]:
    """The rows in the database of a connection, by app."""
    schemas = _schemas_with(connection, ["incarnation", "host", "facts"], "aiotask_workers")
    if not schemas:
        raise BrokerError(
            f'The database "{shown_address(address)}" lacks the table aiotask_workers. Run your migrations, or print '
            "what is missing: aiotask sql your.module"
        )
    tables: dict[tuple[str, str | None], dict[str, TableFacts]] = {}
    for schema in schemas:
        for owner, facts in _registered(connection, schema):
            tables.setdefault((owner, schema), {})[facts.prefix] = facts
    default = sa.inspect(connection).default_schema_name
    known = {(facts.schema or default, facts.name) for each in tables.values() for facts in each.values()}
    for facts in _reflected(connection):
        if (facts.schema or default, facts.name) in known:
            continue
        schema = facts.schema if facts.schema in schemas else schemas[0]
        tables.setdefault((app or "", schema), {})[facts.prefix] = facts
    return [
        FoundRows(owner, RowFacts(address, schema, list(each.values()), ""))
        for (owner, schema), each in sorted(tables.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        if app in (None, owner)
    ]


def _registered(connection: Connection, schema: str | None) -> Iterator[tuple[str, TableFacts]]:
    """The tables that live workers have registered, with their apps."""
    workers = new_tables(schema).workers
    for (packed,) in connection.execute(sa.select(workers.c.facts).order_by(workers.c.incarnation)):
        with contextlib.suppress(msgspec.DecodeError):
            facts = msgspec.msgpack.decode(packed or b"\x80", type=dict[str, object])
            for table in tables_in(facts):
                yield app_in(facts), table


# ---- by their columns


def _reflected(connection: Connection) -> Iterator[TableFacts]:
    """Tables with all columns of ``RowJob`` and a key of one column."""
    inspector = sa.inspect(connection)
    for schema, name in _with_columns(connection, list(ROW_COLUMNS)):
        keys = inspector.get_pk_constraint(name, schema)["constrained_columns"]
        if len(keys) == 1:
            facts = TableFacts(name, schema, name, name, keys[0], "text")
            column = next(each for each in inspector.get_columns(name, schema) if each["name"] == facts.key)
            yield msgspec.structs.replace(facts, kind=_kind(connection, facts, column["type"]))


def _kind(connection: Connection, facts: TableFacts, type_: Any) -> str:
    """The kind of a key: UUIDs are characters where the database has no type for them."""
    if isinstance(type_, sa.Integer):
        return "int"
    if isinstance(type_, sa.Uuid):
        return "uuid"
    if getattr(type_, "length", None) != 32:
        return "text"
    table = light_table(facts)
    some = connection.execute(sa.select(table.c[facts.key]).limit(_SAMPLE)).scalars().all()
    return "uuid:char" if some and all(_HEX.fullmatch(key) for key in some) else "text"


def _schemas_with(connection: Connection, columns: list[str], table: str) -> list[str | None]:
    return [schema for schema, name in _with_columns(connection, columns) if name == table]


_SQLITE = """\
SELECT NULL, m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name IN :columns
WHERE m.type = 'table' GROUP BY m.name HAVING count(*) = :number ORDER BY m.name"""
_POSTGRESQL = """\
SELECT CASE WHEN n.nspname = current_schema() THEN NULL ELSE n.nspname END, t.relname
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute c ON c.attrelid = t.oid
WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND c.attnum > 0 AND NOT c.attisdropped AND c.attname IN :columns
GROUP BY n.nspname, t.relname HAVING count(*) = :number ORDER BY n.nspname <> current_schema(), n.nspname, t.relname"""


def _with_columns(connection: Connection, columns: list[str]) -> list[tuple[str | None, str]]:
    """Schema (None: the default one) and name of the tables that have all of these columns."""
    text = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    statement = sa.text(text).bindparams(sa.bindparam("columns", expanding=True))
    found = connection.execute(statement, {"columns": columns, "number": len(columns)})
    return [(schema, str(name)) for schema, name in found]
