"""The SQLite file that keeps finished jobs: its schema, and how it is made and opened.

One row per job in the table ``jobs``, readable with ``sqlite3``; ``job`` and ``outcome`` are the
sealed bytes that travelled. The table ``hidden`` has one row per app that hides arguments.
``PRAGMA user_version`` is the version of the schema.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AiotaskError, ConfigError

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "COLUMNS",
    "MAX_AGE",
    "MAX_BYTES",
    "SCHEMA_VERSION",
    "HistoryFile",
    "RecordingDelayed",
    "explain",
    "file_errors",
]

#: Default bounds of a file: age of a job (seconds since its end), and size (bytes).
MAX_AGE, MAX_BYTES = 30 * 86_400.0, 1024**3
#: Columns of ``jobs`` in the order in which they are written and read.
COLUMNS = (
    "id",
    "app",
    "task",
    "queue",
    "status",
    "deps",
    "attempts",
    "worker",
    "arguments",
    "result",
    "error",
    "traceback",
    "sent_at",
    "started_at",
    "finished_at",
    "job",
    "outcome",
    "cpu",
    "memory",
    "parent",
    "graph",
    "trail",
)

#: Step N brings a file from version N to N + 1. Steps are added, never changed.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE jobs (
            id TEXT NOT NULL,
            app TEXT NOT NULL,
            task TEXT,
            queue TEXT,
            status TEXT,
            deps TEXT,         -- JSON: ids of the jobs whose values it took
            attempts INTEGER,
            worker TEXT,
            arguments TEXT,    -- JSON [[args], {kwargs}], or as much as can be read without loading it
            result TEXT,       -- JSON, or as above; NULL: it has no value
            error TEXT,
            traceback TEXT,
            sent_at REAL,      -- Unix seconds, as all times
            started_at REAL,
            finished_at REAL,
            job BLOB,          -- sealed
            outcome BLOB       -- sealed
        )
        """,
        "CREATE UNIQUE INDEX jobs_id ON jobs (id, app)",
        "CREATE INDEX jobs_finished_at ON jobs (finished_at)",
        "CREATE INDEX jobs_task ON jobs (task, finished_at)",
        "CREATE INDEX jobs_status ON jobs (status, finished_at)",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN cpu REAL",  # seconds
        "ALTER TABLE jobs ADD COLUMN memory INTEGER",  # bytes
    ),
    (
        "ALTER TABLE jobs ADD COLUMN parent TEXT",  # id of the job that sent it
        "ALTER TABLE jobs ADD COLUMN graph TEXT",
        "CREATE INDEX jobs_graph ON jobs (graph, finished_at) WHERE graph IS NOT NULL",
    ),
    ("ALTER TABLE jobs ADD COLUMN trail TEXT",),  # JSON: the runs before the last one, [[at, worker, how, error], …]
    # JSON: which arguments of this app people are not shown, as in aiotask.values.hidden.Hidden.
    ("CREATE TABLE hidden (app TEXT PRIMARY KEY, what TEXT NOT NULL) WITHOUT ROWID",),
)

#: Version of the schema; a file with a higher one is left alone.
SCHEMA_VERSION = len(_MIGRATIONS)
#: "aiot": tells the file from any other SQLite database.
_APPLICATION_ID = 0x61696F74


class RecordingDelayed(AiotaskError):
    """The result database cannot be used at this time; the caller should try to write the rows again later."""


class HistoryFile:
    """The file and this process's one connection to it, which follows the path when the file is replaced.

    One thread at a time may use the object. It survives a fork: the child opens its own connection.

    Args:
        path: path of the file.
        create: create the file and its directories if they are missing, and bring the schema up to date.
        timeout: seconds to wait for the lock of another process.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool, timeout: float = 5.0) -> None:
        self.path = _checked(path)
        self.create = create
        self.timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._opened: dict[Path, tuple[int, int] | None] = {}
        self._pid = 0

    def connection(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now.

        Raises:
            ConfigError: the file is missing, or is no history that this release can use.
            sqlite3.Error, OSError: the file cannot be opened.
        """
        self._disown()
        if self._connection is not None and not self.is_current():
            self._leave(self._connection)
        if self._connection is None:
            self._connection = self._open()
            self._pid = os.getpid()
        return self._connection

    def is_current(self) -> bool:
        """Whether the open file is still the one at the path, and so are its log and index."""
        return bool(self._opened) and all(_identity(path) == opened for path, opened in self._opened.items())

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction; on an error it is rolled back, and the connection is closed."""
        try:
            connection = self.connection()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        self._disown()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*file_errors()):
                connection.close()

    def _disown(self) -> None:
        """Drop the parent's connection after a fork, without closing it, which would touch the parent's files."""
        if self._connection is not None and self._pid != os.getpid():
            _inherited.append(self._connection)
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        if self.create:
            _make_directory(self.path.parent)
        elif not self.path.exists():
            raise ConfigError(
                f'There is no result database at "{self.path}". Start a worker that records into it '
                f'(aiotask worker … --result-db "{self.path}"), or create an empty one with ResultDB(…).setup().'
            )
        with _directory_lock(self.path.parent, self.timeout) if self.create else contextlib.nullcontext():
            if self.create:
                _make_file(self.path)
                self._check_writable()
            connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw",
                uri=True,
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                # A row that is not UTF-8 must not make the others unreadable.
                connection.text_factory = lambda data: data.decode("utf-8", "replace")
                connection.execute("PRAGMA synchronous = FULL")
                self._check(connection)
            except BaseException:
                connection.close()
                raise
            self._opened = {path: _identity(path) for path in self._paths()}
        return connection

    def _check_writable(self) -> None:
        """Refuse a read-only file before SQLite opens it and creates a log and an index that are read-only, too; give
        a log and an index that were left read-only the mode of the file."""
        if not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write", str(self.path))
        for path in self._paths()[1:]:
            if not os.access(path, os.W_OK):
                # The last program that closes the file removes both: they may be missing, or go at any moment.
                with contextlib.suppress(FileNotFoundError):
                    path.chmod(stat.S_IMODE(self.path.stat().st_mode))

    def _check(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, or refuse a file of another program or of a later release."""
        if self._version(connection) == SCHEMA_VERSION:
            return
        if not self.create:
            # It may be that another process makes it right now.
            with contextlib.suppress(OSError), _directory_lock(self.path.parent, self.timeout):
                if self._version(connection) == SCHEMA_VERSION:
                    return
            raise ConfigError(
                f'The result database "{self.path}" is empty or of an earlier release. Call setup() once to prepare it.'
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for step in _MIGRATIONS[self._version(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION_ID:
            raise ConfigError(
                f'"{self.path}" is the SQLite database of another program. Give the result database a file of its own.'
            )
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f'The result database "{self.path}" has schema version {version}, but this release knows '
                f"{SCHEMA_VERSION}. "
                "Upgrade aiotask here, or record into another file."
            )
        return int(version)

    def _leave(self, connection: sqlite3.Connection) -> None:
        """Close a file that was moved or deleted, after its write-ahead log was written into it."""
        if self.path.parent.is_dir():
            with _directory_lock(self.path.parent, self.timeout):
                with contextlib.suppress(*file_errors()):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._remove_leftovers()
        self.close()

    def _remove_leftovers(self) -> None:
        """Remove the log and index of the file that was replaced: SQLite would take them for those of the new one.

        They are compared by inode, so that files which another process has just made stay, and while the connection
        is open: until it is closed no other file can get these inodes.
        """
        if self._opened[self.path] == _identity(self.path):
            return
        for path in self._paths()[1:]:
            if self._opened[path] == _identity(path) is not None:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _paths(self) -> list[Path]:
        return [self.path, *(self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm"))]


def explain(error: Exception, path: Path) -> AiotaskError:
    """The error to raise for one of SQLite or the file system: what it means for this file, and what to do."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    for start, (kind, text) in _CAUSES.items():
        if name.startswith(start):
            return kind(f'The result database "{path}" {text.format(path=path)} ({error})')
    return RecordingDelayed(f'The result database "{path}" cannot be used: {error}')


_LOCKED = (RecordingDelayed, 'is locked by another process. To see which: fuser "{path}".')
_UNWRITABLE = (
    ConfigError,
    "cannot be opened or written: give this user write permission on the file and its directory, or name another file.",
)
_DAMAGED = (
    ConfigError,
    'is damaged, or not a SQLite database. Move it away (mv "{path}" "{path}.damaged", its -wal and -shm too): '
    'a worker then creates a new one; sqlite3 "{path}.damaged" .recover prints what can be saved.',
)
#: Errors by the beginning of SQLite's (or Python's) name for the cause.
_CAUSES: dict[str, tuple[type[AiotaskError], str]] = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "BlockingIOError": _LOCKED,
    "SQLITE_FULL": (RecordingDelayed, "has no room: the disk is full."),
    "SQLITE_IOERR": (RecordingDelayed, "cannot be read or written: the disk is full or faulty."),
    "SQLITE_READONLY": _UNWRITABLE,
    "SQLITE_PERM": _UNWRITABLE,
    "SQLITE_CANTOPEN": _UNWRITABLE,
    "PermissionError": _UNWRITABLE,
    "FileNotFoundError": _UNWRITABLE,
    "NotADirectoryError": _UNWRITABLE,
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_CORRUPT": _DAMAGED,
}


#: Connections of the parent process, kept open since closing them in the child would touch the parent's files.
_inherited: list[sqlite3.Connection] = []


def file_errors() -> tuple[type[Exception], ...]:
    import sqlite3

    return OSError, sqlite3.Error


def _checked(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if not text or text == ":memory:":
        raise ConfigError(f'"{text}" is not the path of a result database. Name a file, for example "results.db".')
    checked = Path(text).expanduser().absolute()
    if checked.is_dir():
        raise ConfigError(f'The result database "{checked}" is a directory. Name a file in it: "{checked}/results.db".')
    return checked


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_directory(directory: Path) -> None:
    """Make every missing directory of the path, for this user only."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)


def _make_file(path: Path) -> None:
    """Make an empty file for this user only. An existing file is not opened: closing it again would drop the locks
    that another connection of this process has on it."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextlib.contextmanager
def _directory_lock(directory: Path, timeout: float) -> Iterator[None]:
    """A lock under which one recorder at a time makes, checks and replaces the files of a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
