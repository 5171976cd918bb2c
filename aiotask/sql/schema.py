"""What aiotask adds to the user's schema, and how it gets into the database: ``create_tables``, and Alembic."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, Protocol

import sqlalchemy as sa

from ..brokers.sql.address import DatabaseAddress
from ..brokers.sql.job_table import is_status
from ..brokers.sql.tables import UtcDateTime, add_tables, new_tables, utcnow
from ..job import Status
from .rowjob import metadata

if TYPE_CHECKING:
    from .rows import Rows

__all__ = ["add_indexes", "create_tables", "own_statements", "render_item"]

#: Characters of a name in PostgreSQL.
_LONGEST = 63


def add_indexes(table: sa.Table, key: sa.ColumnElement[Any]) -> None:
    """The three indexes that claims, promotions and recoveries read; each holds only the rows that they look for."""
    c = table.c
    _add(table, "ready", (c.deaths, c.priority, c.due_at, key), Status.PENDING)
    _add(table, "later", (c.due_at,), Status.SCHEDULED, Status.RETRYING)
    _add(table, "running", (c.worker,), Status.RUNNING)


def _add(table: sa.Table, what: str, columns: tuple[Any, ...], *statuses: Status) -> None:
    name = f"ix_{table.name}_{what}"
    if len(name.encode()) > _LONGEST:
        name = f"ix_{hashlib.sha256(str(table.name).encode()).hexdigest()[:40]}_{what}"
    if name not in {index.name for index in table.indexes}:
        where = is_status(table, *statuses)
        sa.Index(name, *columns, postgresql_where=where, sqlite_where=where)


class HasDatabase(Protocol):
    """An App, as far as its tables need it."""

    database: DatabaseAddress
    rows: Rows | None


def create_tables(app: HasDatabase) -> None:
    """Create the tables of an app's row classes, and aiotask's own, where they are missing.

    Tables that exist stay as they are: for new columns there are migrations.

    Raises:
        ConfigError: the app has no database, or SQLAlchemy or a driver is not installed.
        ConnectionLost: the database does not answer.
    """
    rows = app.rows
    if rows is None:
        add_tables(metadata)
    with app.database.open().writing() as connection:
        for each in [metadata] if rows is None else rows.metadata:
            each.create_all(connection)


def own_statements(dialect: str) -> list[str]:
    """The SQL that creates aiotask's own tables where they are missing, for migrations that SQLAlchemy does not run.

    Args:
        dialect: ``sqlite`` or ``postgresql``.
    """
    of_dialect = sa.create_mock_engine(f"{dialect}://", lambda *each: None).dialect
    found: list[sa.schema.ExecutableDDLElement] = []
    for table in new_tables(None):
        found.append(sa.schema.CreateTable(table, if_not_exists=True))
        found += [sa.schema.CreateIndex(index, if_not_exists=True) for index in table.indexes]
    return [str(each.compile(dialect=of_dialect)).strip() for each in found]


def render_item(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """For Alembic: ``context.configure(render_item=aiotask.sql.render_item)`` in ``env.py``.

    A migration then names types of SQLAlchemy alone, and not aiotask's.
    """
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "server_default" and isinstance(getattr(item, "arg", None), utcnow):
        return "sa.text('CURRENT_TIMESTAMP')"
    return False
