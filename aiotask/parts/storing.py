"""The part of an app that has a database: its row classes, and sessions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack, overload

from ..backoff import Backoff
from ..brokers.sql.address import MISSING, DatabaseAddress
from ..errors import ConfigError
from ..middleware import Hooks

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.orm import Session

    from ..client.client import Client
    from ..sql.rows import Rows
    from ..sql.transactions import Outbox

__all__ = ["Storing"]


class RowOptions(TypedDict, total=False):
    """The options of a row class.

    queue: name of the queue. Default: the name of the table.
    name: name of the task in logs and commands. Default: ``module:qualname``.
    retries: number of further runs after a failed one.
    retry_on: exception classes after which a row is retried.
    backoff: a function that takes the number of failed runs and returns the seconds to wait before the next run.
    timeout: time that a run may take, in seconds or as a timedelta; None: no limit.
    delete_when_done: True: a row is deleted when it has succeeded.
    notify: False: sessions that insert rows do not tell the workers (PostgreSQL), which find them within a second.
    """

    queue: str
    name: str
    retries: int
    retry_on: tuple[type[Exception], ...]
    backoff: Backoff
    timeout: float | timedelta | None
    delete_when_done: bool
    notify: bool


class Runs(Protocol):
    """An object that is run, and told of errors: ``run`` is a plain method or ``async def``."""

    def run(self) -> Any: ...
    def error(self, exc: Exception, /) -> Any: ...


M = TypeVar("M", bound=Runs)


class Storing:
    """The part of an app that has a database."""

    name: str
    database: DatabaseAddress
    hooks: Hooks
    #: The row classes of the app; None: it has none. See ``brokers.sql`` for what workers and keepers do with it.
    rows: Rows | None = None

    @overload
    def row(self, model: type[M], /) -> type[M]: ...
    @overload
    def row(self, /, **options: Unpack[RowOptions]) -> Callable[[type[M]], type[M]]: ...
    def row(self, model: Any = None, /, **options: Any) -> Any:
        """Decorator that registers a mapped class of SQLAlchemy: ``@app.row`` or ``@app.row(retries=3)``.

        Each row of its table is a job from then on. The class derives from ``aiotask.sql.RowJob`` and has a ``run``.

        Raises:
            ConfigError: an option does not exist or is out of range, the class cannot be a row class, its table is
                taken, or SQLAlchemy is not installed.
        """
        if model is None:
            return lambda model: self._add_row(model, options)
        return self._add_row(model, options)

    def _add_row(self, model: Any, options: dict[str, Any]) -> Any:
        try:
            from ..sql.rows import Rows
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "sqlalchemy":
                raise
            raise ConfigError(f"@app.row {MISSING}") from error
        rows = self.rows or Rows(self.name, self.database, self.hooks)
        rows.add(model, options)
        self.rows = rows
        return model

    if TYPE_CHECKING:

        @property
        def client(self) -> Client: ...

    def session(self) -> AbstractContextManager[Session]:
        """A ``with`` block with a Session on the app's database, committed at its end and rolled back by an error.

        Raises:
            ConfigError: the app has no database, or SQLAlchemy is not installed.
        """
        database = self.database.open()
        if self.rows is not None:
            self.rows.prepare()
        return database.users_session()

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
        from ..sql.transactions import Outbox

        return Outbox(self.client, database, on)
