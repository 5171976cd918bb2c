"""Real transactions on SQLite, where the driver begins one too late or never, and none in autocommit."""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from ..brokers.sql.database import begins_itself
from ..errors import ConfigError

__all__ = ["begin_really", "begin_with", "refuse_autocommit"]

#: Transactions of which is known that the driver has begun them.
_begun: weakref.WeakSet[Any] = weakref.WeakSet()
#: Connections whose transactions ``begin_really`` begins.
_prepared: weakref.WeakSet[Connection] = weakref.WeakSet()

_MEND = """\
The engine begins no real transaction: pysqlite would release the outermost savepoint as a commit, and jobs could not \
be rolled back. Mend the engine with two listeners:

    @event.listens_for(engine, "connect")
    def _(connection, record): connection.isolation_level = None
    @event.listens_for(engine, "begin")
    def _(connection): connection.exec_driver_sql("BEGIN")"""


def begin_really(connection: Connection) -> None:
    """Emit the BEGIN that pysqlite has left out: without it a flush, or a released savepoint, survives a rollback.

    Raises:
        ConfigError: the driver's transaction may have begun with a savepoint, whose release commits.
    """
    transaction = connection.get_transaction()
    if connection.dialect.name != "sqlite" or begins_itself(connection) or transaction in _begun:
        return
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        connection.exec_driver_sql("BEGIN")
    elif connection.in_nested_transaction() and not _is_begun_by(connection.engine, driver):
        raise ConfigError(_MEND)
    transaction = connection.get_transaction()
    if transaction is not None:
        _begun.add(transaction)


def begin_with(connection: Connection) -> None:
    """Have this and all later transactions of a connection begun really."""
    if connection.in_transaction():
        begin_really(connection)
    driver = connection.connection.driver_connection
    if connection not in _prepared and not begins_itself(connection) and not _is_begun_by(connection.engine, driver):
        _prepared.add(connection)
        event.listen(connection, "begin", begin_really)


def _is_begun_by(engine: Engine, driver: Any) -> bool:
    """Whether a listener of the engine begins its transactions, or the driver does, which can from Python 3.12 on."""
    return bool(list(engine.dispatch.begin)) or getattr(driver, "autocommit", None) is False


def refuse_autocommit(bind: Engine | Connection) -> None:
    """Raise ConfigError if SQLAlchemy was told that each statement is to be committed by itself."""
    level = bind.get_execution_options().get("isolation_level")
    level = getattr(bind.dialect, "_on_connect_isolation_level", None) if level is None else level
    if level == "AUTOCOMMIT":
        raise ConfigError(
            'No transaction is open: the isolation level is "AUTOCOMMIT", so nothing could be rolled back. Use an '
            "engine without it for in_transaction."
        )
