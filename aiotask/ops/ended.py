"""Jobs that have ended and match a filter are sent again, as the history file has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ..brokers import require
from ..brokers.technology import GRAPHS
from ..client.done import Done
from ..client.resending import SEALED, SENT_BEFORE, Resending, again_id, is_later
from ..errors import ConfigError, SealError
from ..history.record import JobRecord
from ..history.resultdb import ResultDB
from ..inspector import JobFilter
from ..job import FINAL, Job, decode_job
from ..wire.seal import Sealer
from .connection import Connection

__all__ = ["NOT_KEPT", "EndedJobs", "OfHistory"]

#: Jobs that are read, and sent, at a time.
_BATCH = 50
#: Why a job was left as it is.
NOT_KEPT = "has no call in the history file, which kept its outcome alone"
_UNFINISHED = "is unfinished again, under its own ID"


@dataclass(frozen=True)
class OfHistory:
    """The jobs of a history file that ended at some time.

    Attributes:
        db: path of the file; None: where it is looked for by default.
        since, until: when they ended (Unix seconds; since <= end < until); None: at any time.
    """

    db: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether jobs that ended at any time are meant."""
        return self.since is None and self.until is None


class EndedJobs:
    """Sends the ended jobs of one app again that match a filter, those that ended last first.

    Args:
        wanted: status: the one with which they ended; None: any. text: in their id, arguments, result or error.
        error: text that stands in the first line of their error, in any case; empty: any.

    Raises:
        ConfigError: these are rows, whose table is their history; or there is no history file.
    """

    def __init__(self, connection: Connection, wanted: JobFilter, error: str, of_history: OfHistory) -> None:
        require(connection.broker.url, GRAPHS, "The bulk action resend")
        self._connection = connection
        self._wanted = wanted
        self._error = error.casefold()
        self._of = of_history
        self._history = ResultDB(of_history.db, app=connection.app)
        if not self._history.path.exists():
            raise ConfigError(
                f'Nothing was done: there is no history file "{self._history.path}", and only it has the calls of jobs '
                "that have ended. Workers write it with aiotask worker --result-db FILE; name it with --db FILE."
            )
        self._jobs = Sealer(connection.secrets, "job")
        self._resending = Resending(connection.broker, self._jobs)

    async def count(self, most: int) -> int:
        """The number of jobs that match now. The count stops at ``most``."""
        number = 0
        try:
            async for page in self._pages():
                number += len(page)
                if number >= most:
                    return most
            return number
        finally:
            await self._history.close()

    async def run(self) -> AsyncIterator[Done]:
        """Send them page by page; what has become of the jobs so far is yielded after each page. Jobs that were sent
        after the beginning are not meant."""
        done, started = Done(), (await self._connection.inspector.stats(max_age=0.0)).time
        try:
            async for page in self._pages():
                await self._send(page, started, done)
                yield done
            yield done
        finally:
            await self._history.close()

    async def _pages(self) -> AsyncIterator[list[JobRecord]]:
        wanted, after = self._wanted, ""
        while True:
            page = await self._history.page(
                task=wanted.task,
                status=wanted.status,
                queue=wanted.queue,
                text=wanted.text or None,
                since=self._of.since,
                until=self._of.until,
                limit=_BATCH,
                after=after,
            )
            records = [record for record in page.records if self._is_meant(record)]
            if records:
                yield records
            after = page.after
            if not after:
                break

    def _is_meant(self, record: JobRecord) -> bool:
        error = (record.error or "").partition("\n")[0].casefold()
        return record.id.startswith(self._wanted.prefix) and self._error in error

    async def _send(self, records: Sequence[JobRecord], started: float, done: Done) -> None:
        jobs: list[Job] = []
        for record in records:
            job = self._opened(record)
            if isinstance(job, str):
                done.skip(job)
            elif not is_later(job, started):
                jobs.append(job)
        states = await self._connection.broker.status([job.id for job in jobs]) if jobs else []
        for job, state in zip(list(jobs), states, strict=True):
            reason = ""
            if state.status is not None and state.status not in FINAL:
                reason = _UNFINISHED
            elif await self._history.exists(again_id(job)):
                reason = SENT_BEFORE
            if reason:
                done.skip(reason)
                jobs.remove(job)
        await self._resending.send(jobs, done)

    def _opened(self, record: JobRecord) -> Job | str:
        """The job of a record; or why it cannot be sent."""
        if not record.job:
            return NOT_KEPT
        try:
            job = decode_job(self._jobs.open(record.job))
        except SealError:
            return SEALED
        return job if job.id == record.id else NOT_KEPT
