"""The recorder: writes finished jobs into the SQLite history."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from ..brokers.history import HistoryRow
from ..errors import ConfigError, SealError
from ..job import Job, decode_job, flow_of
from ..log.throttle import Throttle
from ..outcome import Outcome, decode_outcome
from ..values.flow import unpack_ids
from ..values.hidden import Hidden
from ..wire.plaintext import clip, plain_text
from ..wire.seal import Sealer
from .file import COLUMNS, MAX_AGE, MAX_BYTES, HistoryFile, RecordingDelayed, explain, file_errors

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Recorder"]

#: Seconds between two checks of the bounds; rows that one transaction of a check removes, so that other writers hardly
#: wait for it; and transactions in one check.
_CHECK_EVERY, _REMOVED, _TRANSACTIONS = 10.0, 1_000, 50
#: The share of ``max_bytes`` that a check leaves, so that the next check does not find the file too large again.
_LEFT = 0.95

#: Ids in the column ``deps`` at most.
_DEPS = 1_000

_log = logging.getLogger(__name__)

T = TypeVar("T")

_UPSERT = f"""
    INSERT INTO jobs ({", ".join(COLUMNS)}) VALUES ({", ".join("?" * len(COLUMNS))})
    ON CONFLICT (id, app) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[2:])}
    WHERE (excluded.finished_at, excluded.attempts) > (ifnull(finished_at, 0), ifnull(attempts, 0))
"""
_HIDE = "INSERT INTO hidden (app, what) VALUES (?, ?) ON CONFLICT (app) DO UPDATE SET what = excluded.what"


class Recorder:
    """Writes finished jobs into the history; it opens no body, and runs no code of the app.

    Any number of threads may call it, and any number of processes may write the same file.

    Args:
        path: the file; it and its directories are made at the first use.
        secrets: the app's secrets, the current one first.
        app_name: the app whose jobs these are.
        timeout: seconds to wait for the lock of another process.
        max_age: seconds after its end for which a job is kept; 0: for ever.
        max_bytes: size of the file above which the oldest jobs, of any app, are removed; 0: no bound.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        secrets: Sequence[str],
        app_name: str,
        *,
        timeout: float = 5.0,
        max_age: float = MAX_AGE,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        #: Total number of rows left out because they are not sealed by this app, or damaged.
        self.skipped = 0
        #: Log lines about rows left out: one a second.
        self._left_out_lines = Throttle(1.0)
        self._file = HistoryFile(path, create=True, timeout=timeout)
        # A write goes on when its caller stops waiting for it, so ``close`` waits for the lock.
        self._lock = threading.Lock()
        self._jobs = Sealer(secrets, "job")
        self._outcomes = Sealer(secrets, "outcome")
        self._app = app_name
        self._max_age, self._max_bytes = max_age, max_bytes
        self._checks = Throttle(_CHECK_EVERY)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    def open(self) -> None:
        """Make or open the file now, so that a file that cannot be used is an error at start-up.

        Raises:
            ConfigError: the file is damaged, of another program or a later release, or this user cannot write it.
            RecordingDelayed: the file cannot be used at this time.
        """
        with self._lock, self._delays():
            self._file.connection()

    def record(self, rows: Sequence[HistoryRow]) -> None:
        """Write the rows in one transaction. A job that the file already has is replaced only by a later end of it.

        Raises:
            RecordingDelayed: nothing was written; the rows should be offered again. The error names the fix.
        """
        jobs, left_out = self._readable(rows)
        with self._lock:
            if jobs:
                left_out += self._write(jobs)
                self._keep_bounds()
            self._log_left_out(left_out)

    def hide(self, hidden: Hidden) -> None:
        """Keep which arguments of this app people are not shown, for those who read the file without the server.

        Raises:
            RecordingDelayed: it was not written.
        """
        with self._lock:
            self._transact(
                lambda connection: connection.execute(_HIDE, (self._app, msgspec.json.encode(hidden).decode()))
            )

    def _keep_bounds(self) -> None:
        """Remove rows older than ``max_age``, and the oldest rows of a file larger than ``max_bytes``.

        SQLite reuses the space of removed rows, so the file stops growing; it does not shrink.
        """
        if not self._checks.passes():
            return
        if self._max_age:
            self._remove("WHERE finished_at < ?", time.time() - self._max_age)
        if self._max_bytes and self._size() > self._max_bytes:
            self._remove("ORDER BY finished_at", enough=lambda: self._size() <= _LEFT * self._max_bytes)

    def _size(self) -> int:
        """The size of the file without free pages, in bytes."""
        connection = self._file.connection()
        pages, free, bytes_each = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * bytes_each)

    def _remove(self, which: str, *values: float, enough: Callable[[], bool] = lambda: False) -> None:
        sql = f"DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM jobs {which} LIMIT {_REMOVED})"
        for _ in range(_TRANSACTIONS):
            with self._delays(), self._file.transaction() as connection:
                removed = connection.execute(sql, values).rowcount
            if removed < _REMOVED or enough():
                return

    def _log_left_out(self, left_out: list[str]) -> None:
        """Count the rows left out, and log at most one line about them a second."""
        if left_out:
            self.skipped += len(left_out)
            if count := self._left_out_lines.passes(len(left_out)):
                _log.warning("%d finished jobs were not recorded, among them %s", count, left_out[0])

    def close(self) -> None:
        """Close the file, after a write that is under way has ended."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _readable(self, rows: Sequence[HistoryRow]) -> tuple[list[tuple[Any, ...]], list[str]]:
        """The rows as tuples of columns, and the reasons why others are left out."""
        jobs, left_out = [], []
        for row in rows:
            try:
                outcome = decode_outcome(self._outcomes.open(row.outcome))
            except SealError as error:
                left_out.append(f'entry "{row.entry}": {error}')
            else:
                jobs.append(_columns(self._app, row, self._job(row, outcome.id), outcome))
        return jobs, left_out

    def _job(self, row: HistoryRow, id: str) -> Job | None:
        """The job of a row; None if it is not readable, since the outcome is recorded without it, too."""
        try:
            job = decode_job(self._jobs.open(row.job))
        except SealError:
            return None
        return job if job.id == id else None

    def _write(self, jobs: list[tuple[Any, ...]]) -> list[str]:
        """Write the jobs, and return why SQLite refused some."""
        return self._transact(lambda connection: _insert(connection, jobs))

    def _transact(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Write in one transaction, again if the file was replaced meanwhile."""
        try:
            for _ in range(3):
                with self._delays(), self._file.transaction() as connection:
                    written = write(connection)
                if self._file.is_current():
                    return written
        except ConfigError as error:
            raise RecordingDelayed(str(error)) from error
        raise RecordingDelayed(f'The result database "{self.path}" was replaced repeatedly during the write.')

    @contextlib.contextmanager
    def _delays(self) -> Iterator[None]:
        try:
            yield
        except file_errors() as error:
            raise explain(error, self.path) from error


def _insert(connection: sqlite3.Connection, jobs: list[tuple[Any, ...]]) -> list[str]:
    import sqlite3

    unfit = (OverflowError, UnicodeError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    left_out: list[str] = []
    try:
        connection.executemany(_UPSERT, jobs)
    except unfit:
        for job in jobs:
            try:
                connection.execute(_UPSERT, job)
            except unfit as error:
                left_out.append(f'job "{job[0]}": {error}')
    return left_out


def _columns(app: str, row: HistoryRow, job: Job | None, outcome: Outcome) -> tuple[Any, ...]:
    error = outcome.error
    flow = flow_of(job) if job else None
    return (
        outcome.id,
        app,
        outcome.task,
        job.queue if job else None,
        outcome.status.value,
        "[]" if flow is None else json.dumps(unpack_ids(flow.upstream[:_DEPS])[:_DEPS]),
        outcome.attempt,
        outcome.worker or None,
        plain_text(job.body) if job else None,
        None if outcome.value is None else plain_text(outcome.value),
        clip(f"{error.type.removeprefix('builtins.')}: {error.message}") if error else None,
        clip(error.traceback, 16 * 4096) or None if error else None,
        job.sent_at or None if job else None,
        outcome.started_at or None,
        # The end may come from another process than the start, with another clock: a job never ends before it starts.
        max(outcome.finished_at or time.time(), outcome.started_at),
        row.job,
        row.outcome,
        outcome.cpu / 1e6 or None,
        outcome.memory * 1024 or None,
        (job.more.parent or None) if job and job.more else None,
        outcome.graph or None,
        json.dumps(msgspec.to_builtins(row.meta.trail)) if row.meta.trail else None,
    )
