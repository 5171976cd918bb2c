"""ResultDB: reads the history of finished jobs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from ..errors import ConfigError, JobLost, ResultExpired, SealError
from ..job import Status
from ..outcome import Outcome, decode_outcome
from ..settings import environment
from ..values.hidden import Hidden
from ..wire.seal import OVERHEAD, Sealer
from .file import COLUMNS, HistoryFile, RecordingDelayed, explain, file_errors
from .pages import HistoryPage, Place, Wanted, bounded_count, place_in, place_of, read_page
from .plain_end import plain_end
from .record import JobRecord, read_record
from .wanted import Moment, conditions, unix

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["HistoryPage", "JobRecord", "RecordingDelayed", "ResultDB"]

T = TypeVar("T")
#: The conditions of a search, none of which is given.
_ANY = dict.fromkeys(("task", "status", "queue", "graph", "text", "since", "until"))
#: Rows that one transaction of ``prune`` deletes, so that recorders hardly wait for it.
_PRUNE_ROWS = 1000


class ResultApp(Protocol):
    """An App, as far as ResultDB needs it."""

    name: str

    @property
    def secrets(self) -> Sequence[str]: ...
    def result_db_path(self) -> Path | None: ...
    def decode_outcome(self, outcome: Outcome, /) -> Any: ...
    def result(self, id: str, /) -> Any: ...


class ResultDB:
    """The history file: the SQLite database in which workers record every finished job.

    Values are unpickled only by ``fetch_result``, and only if they carry the app's seal. The file is read and written
    in a thread of its own, so the event loop never waits for the disk.

    Args:
        path: path of the file. None: ``$AIOTASK_RESULT_DB``, else the file next to the embedded server's data.
        app: read only the jobs of this app. None: read the jobs of every app; ``fetch_result`` then returns only
            plain data (numbers, text, bytes, containers, JSON).

    Raises:
        ConfigError: no file is named, or the path cannot be that of a file.

    Example:
        async with ResultDB("results.db", app=app) as db:
            value = await db.fetch_result(job_id)
    """

    #: What to do instead of serializing a ResultDB, for the error.
    INSTEAD = "Open it where it is needed"

    def __init__(self, path: str | os.PathLike[str] | None = None, *, app: ResultApp | None = None) -> None:
        self._app = app
        self._file = HistoryFile(_default_path(app) if path is None else path, create=False)
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    async def setup(self) -> None:
        """Create the file if it is missing, and bring its schema up to date.

        Raises:
            ConfigError: the file belongs to another program or a later release, or cannot be written.
        """

        def prepare() -> None:
            with contextlib.closing(HistoryFile(self.path, create=True)) as file:
                file.connection()

        await self._call(prepare)

    async def close(self) -> None:
        """Close the file and end its thread. A later call of any method opens the file again."""
        if self._thread is not None:
            await self._call(self._file.close)
            self._thread.shutdown(wait=False)
            self._thread = None

    async def __aenter__(self) -> Self:
        await self.setup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # ---- one job

    async def fetch_result(self, id: str) -> Any:
        """The value that the job returned. If the job failed, this raises its error, as ``await result`` does.

        Raises:
            ResultExpired: the file has no job with this id.
            SealError: the outcome was forged, damaged, or sealed with another secret.
            ConfigError: the value is more than plain data, so ``ResultDB(…, app=app)`` is needed to read it.
            JobError: the job ended without a value. Without ``app`` this stands for the task's own exception, too.
        """
        outcome = await self._call(lambda: self._outcome(id))
        if outcome is None:
            raise ResultExpired(
                f'The result database "{self.path}" has no job "{id}": it has not ended, was not recorded, or was '
                "pruned. If it was sent recently, await app.result(id)."
            )
        return plain_end(outcome) if self._app is None else self._app.decode_outcome(outcome)

    async def fetch_record(self, id: str) -> JobRecord | None:
        """Everything that is recorded about one job; None if the file has no job with this id."""
        row = await self._first(_SELECT, id)
        return None if row is None else read_record(row)

    async def fetch_status(self, id: str) -> Status | None:
        """The status of the job: as recorded, else (with ``app``) as the broker knows it, else None."""
        record = await self.fetch_record(id)
        if record is not None and record.status is not None:
            return record.status
        if self._app is None:
            return None
        try:
            return Status(await self._app.result(id).status())
        except (ResultExpired, JobLost):
            return None

    async def exists(self, id: str) -> bool:
        """Whether the file has a job with this id."""
        return await self._first("SELECT 1 FROM jobs", id) is not None

    # ---- many jobs, newest first

    async def fetch_all(self, limit: int | None = None, after: JobRecord | None = None) -> list[JobRecord]:
        """All recorded jobs, those that ended last first; behind the record ``after``, if one is given."""
        return await self.search(limit=limit, after=after)

    async def hidden(self) -> Hidden:
        """Which arguments of their tasks the apps of the file hide from people, and what every app hides."""
        where, values = self._where([], [])
        found = await self._call(
            lambda: self._file.connection().execute(f"SELECT what FROM hidden{where}", values).fetchall()
        )
        known = Hidden()
        for (what,) in found:
            # Another release may write what this one cannot read.
            with contextlib.suppress(msgspec.DecodeError, TypeError):
                known = known.joined(msgspec.json.decode(what, type=Hidden))
        return known

    async def search(
        self,
        *,
        task: str | None = None,
        status: Status | str | None = None,
        queue: str | None = None,
        graph: str | None = None,
        text: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = 50,
        after: JobRecord | None = None,
    ) -> list[JobRecord]:
        """Recorded jobs that match all of the conditions, those that ended last first. ``page`` does not look longer
        than 2 seconds.

        Args:
            task, queue: the name of the task, of the queue.
            status: the status with which the job ended.
            graph: id of the graph that the job was in: that of the call that was sent.
            text: a part of the id, the arguments, the result or the error, whatever the case of its letters A to Z.
            since, until: the time at which the job ended (since <= end < until): Unix seconds, an aware datetime, or
                a timedelta before now.
            limit: number of jobs to return at most; None: all.
            after: the last record of the page before.

        Raises:
            ConfigError: an argument is not valid, for example a datetime without a time zone.
        """
        wanted = conditions(task, status, queue, graph, text, since, until)
        return (await self._page(wanted, None if after is None else place_of(after), limit, None)).records

    async def page(
        self,
        *,
        task: str | None = None,
        status: Status | str | None = None,
        queue: str | None = None,
        graph: str | None = None,
        text: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 50,
        after: str = "",
        seconds: float = 2.0,
    ) -> HistoryPage:
        """A page of ``search``, with the place where the next one begins.

        Args:
            after: the place that the page before gave; empty: the page begins at the job that ended last.
            seconds: after which the search ends, and says how far it has looked. By task, status or graph alone it
                finds jobs at once; by queue or text it looks at one job after the other.

        Raises:
            ConfigError: an argument is not valid, or ``after`` was not given by a page.
        """
        wanted = conditions(task, status, queue, graph, text, since, until)
        return await self._page(wanted, place_in(after) if after else None, limit, seconds)

    async def count(
        self,
        *,
        task: str | None = None,
        status: Status | str | None = None,
        queue: str | None = None,
        graph: str | None = None,
        text: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> int:
        """The number of recorded jobs that match all of the conditions of ``search``."""
        found = await self.count_some(
            math.inf, None, task=task, status=status, queue=queue, graph=graph, text=text, since=since, until=until
        )
        assert found is not None
        return found

    async def count_some(self, seconds: float, most: int | None, **given: Any) -> int | None:
        """The number of recorded jobs that match the conditions of ``search``, counted up to ``most``.

        Args:
            seconds: after which the count ends.

        Returns:
            The number, ``most`` if there are as many or more; None: the time was over before."""
        wanted = self._own(conditions(**{**_ANY, **given}))
        return await self._call(lambda: bounded_count(self._file.connection(), wanted, most, seconds))

    async def prune(self, older_than: Moment, *, progress: Callable[[int], object] | None = None) -> int:
        """Delete the jobs that ended longer ago than this, and return their number.

        Args:
            older_than: an age (seconds or a timedelta), or the time before which they ended (an aware datetime).
            progress: a function that is called with the number of jobs deleted so far.

        Raises:
            ConfigError: ``older_than`` is negative, or a datetime without a time zone.
        """
        age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        if not isinstance(age, datetime) and not age >= 0:
            raise ConfigError(
                f'older_than="{older_than}" is not an age. Give seconds (>= 0), a timedelta or a datetime.'
            )
        end = unix(age, "older_than") if isinstance(age, datetime) else time.time() - age
        where, values = self._where(["finished_at < ?"], [end])
        sql = f"DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM jobs{where} LIMIT {_PRUNE_ROWS})"

        def delete() -> int:
            with self._file.transaction() as connection:
                return connection.execute(sql, values).rowcount

        pruned = 0
        while deleted := await self._call(delete):
            pruned += deleted
            if progress is not None:
                progress(pruned)
        return pruned

    async def compact(self) -> None:
        """Return the space of deleted jobs to the disk. The file is rewritten; recording waits meanwhile."""
        await self._call(lambda: self._file.connection().execute("VACUUM"))

    # ---- the file, in its thread

    async def _page(self, wanted: Wanted, after: Place | None, limit: int | None, seconds: float | None) -> HistoryPage:
        if limit is not None and limit < 0:
            raise ConfigError(f'limit="{limit}" is negative. Give 0 or more.')
        own = self._own(wanted)
        return await self._call(lambda: read_page(self._file.connection(), own, after, limit, seconds))

    async def _first(self, select: str, id: str) -> tuple[Any, ...] | None:
        """These columns of the job with this id; of several apps, of the one that ended last."""
        where, values = self._where(["id = ?"], [id])
        sql = f"{select}{where} ORDER BY finished_at DESC LIMIT 1"
        found: tuple[Any, ...] | None = await self._call(
            lambda: self._file.connection().execute(sql, values).fetchone()
        )
        return found

    def _own(self, wanted: Wanted) -> Wanted:
        """These conditions for the jobs of the app, if there is one."""
        if self._app is None:
            return wanted
        return Wanted([*wanted.conditions, "app = ?"], [*wanted.values, self._app.name])

    def _where(self, conditions: list[str], values: list[Any]) -> tuple[str, list[Any]]:
        if self._app is not None:
            conditions, values = [*conditions, "app = ?"], [*values, self._app.name]
        return (" WHERE " + " AND ".join(conditions) if conditions else ""), list(values)

    async def _call(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread that owns the connection."""
        if self._thread is None or self._pid != os.getpid():
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, thread_name_prefix="aiotask-resultdb")
            self._pid = os.getpid()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._explained, work)

    def _explained(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except file_errors() as error:
            self._file.close()
            raise explain(error, self.path) from error

    def _outcome(self, id: str) -> Outcome | None:
        """The recorded outcome, its seal checked if a secret is known; without one, only plain data is read from it."""
        where, values = self._where(["id = ?"], [id])
        sql = f"SELECT outcome FROM jobs{where} ORDER BY finished_at DESC LIMIT 1"
        row = self._file.connection().execute(sql, values).fetchone()
        if row is None:
            return None
        sealed = row[0] if isinstance(row[0], bytes) else b""
        secrets = _secrets() if self._app is None else self._app.secrets
        outcome = decode_outcome(Sealer(secrets, "outcome").open(sealed) if secrets else sealed[OVERHEAD:])
        if outcome.id != id:
            raise SealError(
                f'The row of job "{id}" holds the outcome of job "{outcome.id}": the file was changed by another '
                "program."
            )
        return outcome


def _default_path(app: ResultApp | None) -> Path:
    """The default path: $AIOTASK_RESULT_DB, else beside the data of the embedded server."""
    if app is not None:
        path = app.result_db_path()
        if path is not None:
            return path
    elif named := environment("RESULT_DB"):
        return Path(named)
    elif not environment("URL"):
        from ..embedded.state_directory import state_directory

        return state_directory() / "results.db"
    raise ConfigError(
        "No history file is named. Name the one into which the worker records (aiotask worker --result-db FILE): with "
        'AIOTASK_RESULT_DB, with --db FILE of a command, or as in ResultDB("results.db").'
    )


def _secrets() -> tuple[str, ...]:
    return tuple(secret for part in (environment("SECRET") or "").split(",") if (secret := part.strip()))


_SELECT = f"SELECT {', '.join(COLUMNS)} FROM jobs"
