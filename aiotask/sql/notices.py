"""Sessions that insert rows tell the workers, on PostgreSQL: once a transaction and table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection

from ..brokers.sql.keeping import notify

__all__ = ["notify_of_inserts"]

#: In ``Connection.info``: the transaction under way, and the tables of which it has told.
_TOLD = "aiotask_told"


def notify_of_inserts(model: type[Any], table: str) -> None:
    """Let each transaction of a session that inserts rows of this class say so as it commits."""

    def inserted(mapper: Any, connection: Connection, target: Any) -> None:
        if connection.dialect.name != "postgresql":
            return
        transaction = connection.get_transaction()
        known: Any = connection.info.get(_TOLD)
        if known is None or known[0] is not transaction:
            known = connection.info[_TOLD] = (transaction, set())
        if table not in known[1]:
            known[1].add(table)
            notify(connection, table)

    event.listen(model, "after_insert", inserted)
