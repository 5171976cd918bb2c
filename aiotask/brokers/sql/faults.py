"""Errors of a database in the words of aiotask: which of them pass, and which a row itself has caused."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ...errors import AiotaskError, BrokerError, ConnectionLost

__all__ = ["in_our_words", "is_unreadable", "translated"]

#: How SQLite names a column that does not exist, and the code of PostgreSQL; the same of a table or its schema.
_NO_COLUMN = ("no such column", "has no column"), ("42703",)
_NO_TABLE = ("no such table",), ("42P01", "3F000")
#: Its codes for a statement that it has given up: a lock was not free in time (``lock_timeout``), or the statement took
#: too long (``statement_timeout``). Other statements may work, so only this one is repeated.
_GIVEN_UP = ("55P03", "57014")
#: The classes of its codes for what passes without a change to the statement: connections, conflicts of transactions,
#: resources, objects in use, an operator's orders, the system. And: the server only reads, being a replica by now.
_PASSING = ("08", "40", "53", "55", "57", "58")
_READ_ONLY = "25006"
#: It has ended the connection of a transaction that was idle for too long: nothing was committed, and the next run
#: would be as idle.
_IDLE = "25P03"


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """A block in which errors of the database become ConnectionLost or BrokerError, with their cause."""
    try:
        yield
    except AiotaskError:
        raise
    except SQLAlchemyError as error:
        raise in_our_words(error) from error


def in_our_words(error: SQLAlchemyError) -> Exception:
    """The error of aiotask for one of the database; errors that a row itself causes stay what they are."""
    text = _first_line(error)
    if isinstance(error, PoolTimeout):
        return ConnectionLost(f"The database does not answer: {text}.")
    if not isinstance(error, DBAPIError):
        return error
    code = _code(error)
    if _is(error, _NO_COLUMN):
        return BrokerError(
            f"A column is missing in the database: {text}. Run your migrations; aiotask sql --check your.module lists "
            "what is missing."
        )
    if _is(error, _NO_TABLE):
        return BrokerError(
            f"A table is missing in the database: {text}. Run your migrations, or aiotask.sql.create_tables(app)."
        )
    if error.connection_invalidated and code != _IDLE:
        return ConnectionLost(f"The connection to the database broke: {text}.")
    if isinstance(error, OperationalError) and not code and " FATAL: " in text:
        return ConnectionLost(
            f"The database refuses the connection: {text}. Check its address: App(database=…), AIOTASK_DATABASE or "
            "--database."
        )
    if code in _GIVEN_UP:
        return BrokerError(f"The database has given up a statement: {text}.")
    return ConnectionLost(f"The database does not answer: {text}.") if _passes(error, code) else error


def is_unreadable(error: Exception) -> bool:
    """Whether a statement was executed, and a value that it has found cannot be read: by its type in SQLAlchemy, or by
    the driver."""
    return not isinstance(error, SQLAlchemyError) or (isinstance(error, DataError) and not _code(error))


def _is(error: DBAPIError, known: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    parts, codes = known
    return any(part in str(error.orig) for part in parts) or _code(error) in codes


def _passes(error: DBAPIError, code: str) -> bool:
    """Whether the same statement may succeed later."""
    if isinstance(error.orig, sqlite3.Error):
        # Of its result codes SQLITE_ERROR is about the statement; busy, full, read-only and others about the file.
        number = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_BUSY)
        return isinstance(error, OperationalError) and number & 0xFF != sqlite3.SQLITE_ERROR
    if code:
        return code.startswith(_PASSING) or code == _READ_ONLY
    return isinstance(error, OperationalError | InterfaceError)


def _code(error: DBAPIError) -> str:
    """PostgreSQL's code of an error; empty: the error is of the driver, or of SQLite."""
    return getattr(error.orig, "sqlstate", None) or ""


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
