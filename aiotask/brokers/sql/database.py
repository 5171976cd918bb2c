"""The engine of a database in this process, and its transactions."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from ...errors import ConfigError
from .address import EXAMPLES, called
from .faults import translated
from .network import network_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Database", "begins_itself", "take_write_lock"]

#: Seconds for which a writer waits for the lock of an SQLite file.
LOCK_TIMEOUT = 30.0
#: An execution option of a connection to SQLite: the statement with which its transactions begin; ``_AT_WRITE``:
#: reading begins none, and the first statement that may write takes the write lock.
_BEGIN, _AT_WRITE = "aiotask_begin", "at write"


class Database:
    """The engine of an app's database, found at first use.

    A forked child goes on with the engine but not with its connections: they belong to the parent, and stay open there.

    Args:
        given: a URL, ``module:attribute``, an Engine, or a function that returns one.
    """

    def __init__(self, given: Any) -> None:
        self._given = given
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        #: An engine whose transactions on SQLite take the write lock as they begin; it shares the connections.
        self._writing: Engine | None = None
        #: Another one, whose transactions on SQLite take it as they write.
        self._using: Engine | None = None
        #: On PostgreSQL, one whose statements are transactions of their own.
        self._single: Engine | None = None
        _databases.add(self)

    @property
    def engine(self) -> Engine:
        """The engine of this process.

        Raises:
            ConfigError: the address leads to no engine of SQLite or PostgreSQL, or its driver is not installed.
        """
        return self._engine or self._find()

    @property
    def is_found(self) -> bool:
        """Whether the engine has been looked up in this process."""
        return self._engine is not None

    @property
    def url(self) -> str:
        """The URL of the database with its password: what another process finds it by."""
        if isinstance(self._given, str):
            return self._given
        url = self.engine.url
        if self.is_sqlite and url.database and not url.database.startswith("file:"):
            # Absolute: the keeper may have another current directory.
            url = url.set(database=os.path.abspath(url.database))
        return url.render_as_string(hide_password=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def async_url(self) -> URL | None:
        """The URL for an AsyncEngine; None: the database was given without an async driver."""
        url = self.engine.url
        if isinstance(self._given, str) and "://" in self._given:
            url = _parsed(self._given)
        return url if url.get_dialect().is_async or url.drivername == "postgresql+psycopg" else None

    def async_engine(self) -> AsyncEngine | None:
        """A new engine for the running event loop; None: there is no async driver, or greenlet is not installed."""
        url = self.async_url
        if url is None:
            return None
        try:
            from sqlalchemy.ext.asyncio import create_async_engine

            url, options = _prepared(url)
            engine = create_async_engine(url, pool_size=5, max_overflow=-1, connect_args=options)
        except (ImportError, ValueError):
            return None
        if self.is_sqlite:
            _begin_really(engine.sync_engine)
            event.listen(engine.sync_engine, "before_cursor_execute", _begin_at_write)
        return engine.execution_options(**{_BEGIN: _AT_WRITE})

    # ---- transactions

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads. On PostgreSQL each statement is a transaction of its own."""
        with translated(), (self.engine if self.is_sqlite else self._singly()).connect() as connection:
            yield connection

    @contextlib.contextmanager
    def one_by_one(self) -> Iterator[Session]:
        """A Session on PostgreSQL, each of whose statements is a transaction of its own: one round trip, while one in a
        transaction takes three. Objects stay readable after the block."""
        with translated(), Session(self._singly(), autoflush=False, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end of the block. On SQLite it holds the write lock
        from its beginning: one that reads before it writes would be refused (SQLITE_BUSY_SNAPSHOT)."""
        with translated(), self._writers().begin() as connection:
            take_write_lock(connection)
            yield connection

    @contextlib.contextmanager
    def writing_singly(self) -> Iterator[Connection]:
        """The same for statements that need no transaction around them: on PostgreSQL each is one of its own."""
        if self.is_sqlite:
            with self.writing() as connection:
                yield connection
        else:
            with translated(), self._singly().connect() as connection:
                yield connection

    @contextlib.contextmanager
    def session(self, kind: type[Session] = Session) -> Iterator[Session]:
        """A Session in such a transaction, committed at the end of the block; objects stay readable after it."""
        with translated(), kind(self._writers(), expire_on_commit=False) as session, session.begin():
            take_write_lock(session.connection())
            yield session

    @contextlib.contextmanager
    def users_session(self) -> Iterator[Session]:
        """A Session for code of the user, committed at the end of the block; it locks nothing before it writes."""
        with translated(), Session(self.users(), expire_on_commit=False) as session, session.begin():
            yield session

    def users(self) -> Engine:
        """The engine for code of the user. On SQLite its transactions begin as they write: code that reads, does
        something else for a while and then writes is not refused."""
        if self._using is None:
            self._using = self.engine.execution_options(**{_BEGIN: _AT_WRITE})
            if self.is_sqlite:
                event.listen(self._using, "before_cursor_execute", _begin_at_write)
        return self._using

    def _singly(self) -> Engine:
        if self._single is None:
            self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        return self._single

    def _writers(self) -> Engine:
        if self._writing is None:
            self._writing = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        return self._writing

    # ---- the engine

    def _find(self) -> Engine:
        with self._lock:
            if self._engine is None:
                given = self._given
                if isinstance(given, str):
                    engine = _made_of_url(given) if "://" in given else _engine_of(_imported(given), given)
                else:
                    engine = _engine_of(given, "database=…")
                self._engine = _checked(engine)
                if engine is not given:
                    weakref.finalize(self, engine.dispose)
            return self._engine

    def dispose(self) -> None:
        """Close the connections that no block uses."""
        if self._engine is not None:
            self._engine.dispose()

    def _leave_to_parent(self) -> None:
        """In a forked child: use none of the parent's connections, and close none of them either."""
        self._lock = threading.RLock()
        if self._engine is not None:
            _of_parents.append(self._engine.pool)
            self._engine.dispose(close=False)
            self._writing = self._using = self._single = None


#: Databases of this process. Pools that a forked child has from its parents are kept: a connection that is collected
#: would be closed.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_of_parents: list[Any] = []


def _after_fork() -> None:
    for database in list(_databases):
        database._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)


def take_write_lock(connection: Connection) -> None:
    """Let the transaction of a connection to SQLite hold the write lock; others hold locks of rows.

    An engine of the user's may begin transactions too late (pysqlite's default), never, or without this lock.
    """
    options = connection.get_execution_options()
    if connection.dialect.name != "sqlite" or (options.get(_BEGUN) and options.get(_BEGIN) == "BEGIN IMMEDIATE"):
        return
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction:
        if options.get(_BEGUN) and options.get(_BEGIN) == _AT_WRITE:
            return
        connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


#: An execution option of our own engines: they begin transactions themselves, as ``_BEGIN`` says.
_BEGUN = "aiotask_begins"


def begins_itself(bind: Engine | Connection) -> bool:
    """Whether an engine is one of our own, whose transactions on SQLite are real."""
    return bool(bind.get_execution_options().get(_BEGUN))


# ---- finding and making engines


def _imported(name: str) -> Any:
    """What ``module:attribute`` means.

    Raises:
        ConfigError: there is no such module or attribute.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f'database="{name}" cannot be found: {error}. {EXAMPLES}') from error
    return found


def _engine_of(given: Any, shown: str) -> Engine:
    if isinstance(given, Engine):
        return given
    found = called(given, shown) if callable(given) else given
    if isinstance(found, str) and "://" in found:
        return _made_of_url(found)
    if not isinstance(found, Engine):
        raise ConfigError(
            f"{shown} leads to an object of type {type(found).__qualname__}, not to an Engine. {EXAMPLES}"
        )
    return found


def _checked(engine: Engine) -> Engine:
    name = engine.dialect.name
    if name not in ("sqlite", "postgresql"):
        raise ConfigError(f"The database is of the kind {name}. Rows need SQLite or PostgreSQL.")
    if engine.dialect.is_async:
        raise ConfigError(
            "The engine is one of an async driver. Give its URL instead: a plain driver is used beside it."
        )
    if name == "sqlite" and engine.url.database in (None, "", ":memory:"):
        raise ConfigError("The database is in memory, which no other process sees. Name a file: sqlite:///shop.db.")
    return engine


def _parsed(text: str) -> URL:
    """A URL with the driver that aiotask uses where none is named."""
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"The URL of the database cannot be read. {EXAMPLES}") from error
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _made_of_url(text: str) -> Engine:
    url = _parsed(text)
    if url.get_backend_name() == "sqlite":
        return _of_sqlite(url.set(drivername="sqlite"))
    # The driver that works in threads, beside one for event loops.
    url, options = _prepared(_of_threads(url) if url.drivername == "postgresql+asyncpg" else url)
    try:
        return sa.create_engine(url, pool_size=5, max_overflow=-1, connect_args=options)
    except NoSuchModuleError as error:
        raise ConfigError(f'SQLAlchemy knows no driver "{url.drivername}". {EXAMPLES}') from error
    except ImportError as error:
        raise ConfigError(
            f"The database needs the driver {error.name}: pip install 'aiotask[postgres]' brings psycopg."
        ) from error


#: Options of asyncpg in a URL that set how many statements it keeps prepared.
_ASYNCPG_CACHES = ("prepared_statement_cache_size", "statement_cache_size")


def _of_threads(url: URL) -> URL:
    """The URL of asyncpg for psycopg: without prepared statements if the URL switches them off."""
    query = {"sslmode" if name == "ssl" else name: value for name, value in url.query.items()}
    caches = [query.pop(name) for name in _ASYNCPG_CACHES if name in query]
    if "0" in caches:
        query["prepare_threshold"] = "none"
    return url.set(drivername="postgresql+psycopg", query=query)


def _prepared(url: URL) -> tuple[URL, dict[str, Any]]:
    """A URL without ``prepare_threshold``, and the option of psycopg that it means: a pooler may hand each transaction
    to another server process, which does not know the statements that were prepared in the one before."""
    text = url.query.get("prepare_threshold")
    if text is None or not url.drivername.startswith("postgresql+psycopg"):
        return url, {}
    number = str(text).lower()
    if number != "none" and not number.isdecimal():
        raise ConfigError(
            f'database="…?prepare_threshold={text}": give "none", and no statement is prepared, as behind a pooler, or '
            "the number of times after which one is."
        )
    return url.difference_update_query(["prepare_threshold"]), {
        "prepare_threshold": None if number == "none" else int(number)
    }


def _of_sqlite(url: URL) -> Engine:
    """An engine whose transactions really begin: the driver alone would begin them late, or not at all."""
    path = url.database or ""
    folder = Path(path).parent
    if not path.startswith("file:") and not folder.is_dir():
        raise ConfigError(f'The folder "{folder}" of the database does not exist. Create it: mkdir -p "{folder}".')
    if kind := network_of(folder):
        raise ConfigError(
            f'"{path}" is on a network disk ({kind}), where the locks of SQLite do not hold. Put the file on a disk of '
            "this machine, or use PostgreSQL."
        )
    engine = sa.create_engine(url, pool_size=5, max_overflow=-1, execution_options={_BEGUN: True})
    _begin_really(engine)
    return engine


#: How statements begin that do not write. Others, and a savepoint, take the write lock.
_READS = ("SELECT", "PRAGMA", "EXPLAIN", "BEGIN", "COMMIT", "ROLLBACK")


def _begin_really(engine: Engine) -> None:
    """Make the connections of an engine use WAL, and begin their transactions as SQLAlchemy begins them."""

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT * 1000:.0f}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        how = connection.get_execution_options().get(_BEGIN, "BEGIN")
        if how != _AT_WRITE:
            connection.exec_driver_sql(how)


def _begin_at_write(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    """Begin the transaction of a connection to SQLite, with the write lock, before its first statement that writes."""
    driver: Any = connection.connection.driver_connection
    if not statement.startswith(_READS) and not driver.in_transaction:
        cursor.execute("BEGIN IMMEDIATE")
