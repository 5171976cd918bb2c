"""The part of an app that has a database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .brokers.sql.address import DatabaseAddress

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .client.client import Client
    from .sql.transactions import Outbox

__all__ = ["Storing"]


class Storing:
    """The part of an app that has a database."""

    name: str
    database: DatabaseAddress

    if TYPE_CHECKING:

        @property
        def client(self) -> Client: ...

    def session(self) -> AbstractContextManager[Session]:
        """A ``with`` block with a Session on the app's database, committed at its end and rolled back by an error.

        Raises:
            ConfigError: the app has no database, or SQLAlchemy is not installed.
        """
        return self.database.open().session()

    def in_transaction(self, on: object) -> Outbox:
        """A ``with`` or ``async with`` block in which jobs become part of a transaction: they are sent if it commits,
        and only then.

        What is sent in the block waits in the table ``aiotask_outbox`` of the app's database, and the keeper of a
        worker sends it after the commit. Until then ``await``, ``get``, ``sent``, ``status`` and ``cancel`` of its
        handles raise NotSent. A block that an error leaves sends nothing.

        Args:
            on: what carries the transaction, on the app's database: a Session, AsyncSession, scoped_session, Connection
                or AsyncConnection of SQLAlchemy; a connection of sqlite3, psycopg, asyncpg or aiosqlite; or the alias
                of a database of Django. A Session sends each job as an object of its unit of work; for all others the
                jobs are inserted as the block ends, so write it inside of the transaction.

        Raises:
            ConfigError: the app has no database, SQLAlchemy is not installed, no transaction is open, or ``on`` is of
                no such kind.
        """
        database = self.database.open()
        from .sql.transactions import Outbox

        return Outbox(self.client, database, on)
