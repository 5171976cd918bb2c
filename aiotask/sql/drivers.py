"""Carriers for connections of drivers, and for Django's: the jobs are inserted as the block ends.

None of the drivers is imported: whoever has a connection has loaded its driver.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from .carriers import InsertingCarrier, refuse_outside

__all__ = ["AioSqlite", "AsyncPg", "AsyncPsycopg", "Django", "Psycopg", "Sqlite", "django_connection"]


class _OnSqlite(InsertingCarrier):
    is_sqlite = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def check(self) -> None:
        """Without a transaction: the driver begins one before an INSERT, unless it is in autocommit."""
        connection = self._connection
        # Python 3.12: True is autocommit, False keeps a transaction open.
        autocommit = getattr(connection, "autocommit", -1) is True
        if not connection.in_transaction and (connection.isolation_level is None or autocommit):
            raise refuse_outside(
                "It commits every statement by itself. Begin before the block: `connection.execute('BEGIN')`, and "
                "commit after it."
            )

    @property
    def is_open(self) -> bool:
        try:
            return bool(self._connection.in_transaction)
        except (sqlite3.ProgrammingError, ValueError):
            return False  # closed


class Sqlite(_OnSqlite):
    """A connection of ``sqlite3``."""

    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        return self._connection.execute(sql, parameters).lastrowid


class AioSqlite(_OnSqlite):
    """A connection of aiosqlite."""

    is_async = True

    async def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        async with self._connection.execute(sql, parameters) as cursor:
            return cursor.lastrowid


class Psycopg(InsertingCarrier):
    """A connection of psycopg 3, sync."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def check(self) -> None:
        """Without a transaction: the driver begins one before an INSERT, unless it is in autocommit."""
        if self._connection.autocommit and not self.is_open:
            kind = "async with" if self.is_async else "with"
            raise refuse_outside(f"It is in autocommit. Write the block inside of `{kind} connection.transaction():`.")

    @property
    def is_open(self) -> bool:
        # Of the driver: IDLE is 0, UNKNOWN (closed) is 4.
        return int(self._connection.info.transaction_status) in (1, 2, 3)

    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        # Rows as tuples, whichever factory the connection has.
        with self._connection.cursor(row_factory=_tuples) as cursor:
            return cursor.execute(sql, parameters).fetchall()


class AsyncPsycopg(Psycopg):
    """An async connection of psycopg 3."""

    is_async = True

    async def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        async with self._connection.cursor(row_factory=_tuples) as cursor:
            await cursor.execute(sql, parameters)
            return await cursor.fetchall()


def _tuples(cursor: Any) -> Any:
    return tuple


class AsyncPg(InsertingCarrier):
    """A connection of asyncpg."""

    is_async = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def check(self) -> None:
        if not self.is_open:
            raise refuse_outside("Write the block inside of `async with connection.transaction():`.")

    @property
    def is_open(self) -> bool:
        return not self._connection.is_closed() and bool(self._connection.is_in_transaction())

    def mark(self, number: int) -> str:
        return f"${number}"

    async def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        return await self._connection.fetch(sql, *parameters)


class Django(InsertingCarrier):
    """A connection of Django, inside of ``transaction.atomic()``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.is_sqlite = connection.vendor == "sqlite"
        if connection.vendor not in ("sqlite", "postgresql"):
            raise ConfigError(f"The database of Django is {connection.vendor}. The outbox needs SQLite or PostgreSQL.")

    def check(self) -> None:
        if not self.is_open:
            raise refuse_outside("Write the block inside of `with transaction.atomic():`.")

    @property
    def is_open(self) -> bool:
        return bool(self._connection.in_atomic_block)

    def mark(self, number: int) -> str:
        return "%s"

    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.lastrowid if self.is_sqlite else cursor.fetchall()


def django_connection(alias: str) -> Any:
    """Django's connection of this thread to a database of its settings.

    Raises:
        ConfigError: Django is not in use in this process, has no settings yet, or they have no such database.
    """
    module: Any = sys.modules.get("django.db")
    if module is None:
        raise ConfigError(
            f'in_transaction("{alias}"): a text is the alias of a database in the settings of Django, which is not '
            "loaded in this process. Give a Session or a connection."
        )
    exceptions: Any = sys.modules["django.core.exceptions"]
    try:
        if alias in module.connections:
            return module.connections[alias]
        known = ", ".join(f'"{name}"' for name in module.connections)
    except exceptions.ImproperlyConfigured as error:
        text = f'in_transaction("{alias}"): {str(error).splitlines()[0].rstrip(".")}. Call django.setup() before.'
        raise ConfigError(text) from error
    raise ConfigError(f'The settings of Django have no database "{alias}", but {known}.')
