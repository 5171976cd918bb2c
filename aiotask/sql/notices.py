"""INSERTs of rows tell the workers, on PostgreSQL: once a transaction and table, or once a savepoint."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, TwoPhaseTransaction

from ..brokers.sql.keeping import notify

__all__ = ["notify_of_inserts"]

#: In ``Table.info``: the name with which INSERTs into the table are told of.
_NAME = "aiotask_notify"
#: In ``Connection.info``: the transaction or savepoint under way, and the tables of which it has told.
_TOLD = "aiotask_told"


def notify_of_inserts(table: sa.Table, name: str) -> None:
    """Let each transaction that inserts into a table say so as it commits, whichever way of SQLAlchemy it inserts by: a
    flush, ``session.execute(insert(Model), …)``, ``bulk_insert_mappings``, or a statement of a connection. An INSERT in
    text is not recognized."""
    table.info[_NAME] = name
    if not event.contains(Engine, "after_execute", _executed):
        event.listen(Engine, "after_execute", _executed)


def _executed(connection: Connection, statement: Any, *_: Any) -> None:
    # Every statement of every engine comes here: this is all that those pay that insert no rows.
    if isinstance(statement, sa.Insert) and connection.dialect.name == "postgresql":
        name = getattr(statement.table, "info", {}).get(_NAME)
        if name is not None and _is_news(connection, name):
            notify(connection, name)


def _is_news(connection: Connection, name: str) -> bool:
    """Whether the transaction under way may tell of a table, and has not done so yet."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return True
    # PostgreSQL refuses to prepare a transaction that has notified others.
    if isinstance(connection.get_transaction(), TwoPhaseTransaction):
        return False
    # What a savepoint has told is dropped with it; PostgreSQL sends equal notifications of a transaction once.
    transaction = connection.get_nested_transaction() or connection.get_transaction()
    known: Any = connection.info.get(_TOLD)
    if known is None or known[0] is not transaction:
        known = connection.info[_TOLD] = (transaction, set())
    if name in known[1]:
        return False
    known[1].add(name)
    return True
