"""Hints that a row may be ready: they make a wait shorter, and the truth is what the next look finds."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .database import Database

__all__ = ["CHANNEL", "Wakeup"]

#: The channel of PostgreSQL on which transactions that insert rows say so; the payload is the name of the table.
CHANNEL = "aiotask_rows"
#: Seconds between two looks at whether an SQLite file has changed: they take no lock and read no disk.
GLANCE = 0.01
#: Seconds until the connection that listens is opened again after an error.
AGAIN = 5.0


class Wakeup:
    """Tells one event loop of changes in a database.

    SQLite: a connection that never writes sees another ``data_version`` after each commit of any process. PostgreSQL:
    one connection listens; behind a pooler that does not forward notifications nothing is heard.

    Args:
        do: calls a function in the thread that uses the database.
    """

    def __init__(self, database: Database, do: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._database = database
        self._do = do
        self._changed = asyncio.Event()
        self._glancing: sqlite3.Connection | None = None
        self._listening: Any = None
        #: The loop in which the connection that listens is read; None: it is not read yet.
        self._loop: asyncio.AbstractEventLoop | None = None
        #: The number of the socket that the loop watches. A connection that has broken does not know its own any more.
        self._socket = -1
        #: A wait may be cancelled, and this object closed, while the thread connects or looks: SQLite crashes the
        #: process when a connection is closed in the middle of a statement.
        self._lock = threading.Lock()
        self._is_closed = False
        self._failed_at = -AGAIN
        #: What ``mark`` has seen, in an SQLite file.
        self._version = -1

    def stir(self) -> None:
        """End the wait that is under way."""
        self._changed.set()

    def forget(self) -> None:
        """Before a look, in the loop: what was heard until now ends no wait."""
        self._changed.clear()

    def mark(self) -> None:
        """Before a look, in the thread: changes from now on end the next wait."""
        if self._database.is_sqlite:
            self._version = self._look()

    async def wait(self, timeout: float) -> bool:
        """Return at a change after the last mark, or after these seconds. Whether there was a change."""
        ends = time.monotonic() + timeout
        if not self._database.is_sqlite:
            await self._listen()
            return await self._wait_for_event(timeout)
        while (left := ends - time.monotonic()) > 0:
            if self._changed.is_set() or self._look() != self._version:
                return True
            await self._wait_for_event(min(left, GLANCE))
        return self._changed.is_set()

    async def _wait_for_event(self, timeout: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        return self._changed.is_set()

    # ---- SQLite

    def _look(self) -> int:
        with self._lock:
            try:
                if self._glancing is None:
                    if self._is_closed:
                        return self._version
                    self._glancing = self._open_glancing()
                found: int = self._glancing.execute("PRAGMA data_version").fetchone()[0]
                return found
            except sqlite3.Error:
                return self._version

    def _open_glancing(self) -> sqlite3.Connection:
        path = str(self._database.engine.url.database)
        # Without a timeout: where the file has no WAL, a writer locks out readers, and the loop must not wait.
        return sqlite3.connect(
            path, uri=path.startswith("file:"), isolation_level=None, check_same_thread=False, timeout=0
        )

    # ---- PostgreSQL

    async def _listen(self) -> None:
        if self._loop is not None or time.monotonic() - self._failed_at < AGAIN:
            return
        try:
            if self._listening is None:
                await self._do(self._connect)
        except Exception:
            # While the server restarts, say. SQLAlchemy leaves errors of a driver's connection as they are, and the
            # regular look finds every row.
            self._failed_at = time.monotonic()
            return
        if self._listening is None:
            self._failed_at = float("inf")
            return
        self._loop = asyncio.get_running_loop()
        self._socket = self._listening.fileno()
        self._loop.add_reader(self._socket, self._hear)
        # What was committed before is not heard.
        self._changed.set()

    def _connect(self) -> None:
        """Open a connection that listens, if the driver is psycopg, whose connections tell what has arrived."""
        fairy = self._database.engine.raw_connection()
        connection: Any = fairy.driver_connection
        fairy.detach()
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if not hasattr(connection, "pgconn"):
                return
            connection.rollback()
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            with self._lock:
                if not self._is_closed:
                    self._listening = connection
                    stack.pop_all()

    def _hear(self) -> None:
        pgconn = self._listening.pgconn
        try:
            pgconn.consume_input()
            while pgconn.notifies() is not None:
                self._changed.set()
        except Exception:
            self._failed_at = time.monotonic()
            self._drop()

    def _drop(self) -> None:
        connection, self._listening = self._listening, None
        loop, self._loop = self._loop, None
        if connection is not None:
            with contextlib.suppress(Exception):
                if loop is not None:
                    loop.remove_reader(self._socket)
            with contextlib.suppress(Exception):
                connection.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._glancing is not None:
                self._glancing.close()
                self._glancing = None
        self._drop()
