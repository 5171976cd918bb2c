"""What people do to rows: look, cancel, replay, discard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from ...broker import Cancelled, JobState, Replayed
from ...errors import JobCancelled
from ...job import FINAL, WIRE_VERSION, Status
from ...outcome import ErrorInfo, Outcome, encode_outcome
from ...wire.ended import ended
from ...wire.seal import Sealer
from .database import Database
from .job_table import JobTable
from .keeping import notify
from .tables import utcnow

__all__ = ["Operating", "outcome_of", "status_of"]

_CANCELLED = "JobCancelled: The row was cancelled."


class Operating:
    """Reads and moves single rows, by the ids of their jobs.

    Args:
        table_of: the table of an id; None: it is no id of a row.
        jobs, outcomes: seal what is made of rows.
    """

    def __init__(
        self, database: Database, table_of: Callable[[str], JobTable | None], jobs: Sealer, outcomes: Sealer
    ) -> None:
        self._database = database
        self.table_of = table_of
        self.jobs, self.outcomes = jobs, outcomes

    def _by_table(self, ids: Iterable[str]) -> dict[JobTable, dict[Any, str]]:
        """The ids by their tables and keys."""
        found: dict[JobTable, dict[Any, str]] = {}
        for id in ids:
            table = self.table_of(id)
            if table is not None:
                found.setdefault(table, {})[table.key_of(id)] = id
        return found

    def read(self, ids: Sequence[str]) -> dict[str, tuple[JobTable, Any]]:
        """The rows of these ids, as far as they are there."""
        found: dict[str, tuple[JobTable, Any]] = {}
        with self._database.reading() as connection:
            for table, keys in self._by_table(ids).items():
                for row in connection.execute(table.by_keys, {"_keys": list(keys)}):
                    found[keys[table.key_in(row)]] = (table, row)
        return found

    def status(self, ids: Sequence[str]) -> list[JobState]:
        found = self.read(ids)
        return [self._state(*found[id]) if id in found else JobState() for id in ids]

    def _state(self, table: JobTable, row: Any) -> JobState:
        if row.status in FINAL:
            return JobState(outcome=outcome_of(self.outcomes, table, row))
        return JobState(status_of(row.status))

    def ended(self, ids: Sequence[str]) -> list[str]:
        """Those of these claimed rows that run no more, by what the database has of them."""
        found: list[str] = []
        with self._database.reading() as connection:
            for table, keys in self._by_table(ids).items():
                found += [keys[row[0]] for row in connection.execute(table.ended, {"_keys": list(keys)})]
        return found

    def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        found = self.read(ids)
        return [self._cancel_of(incarnation, id, *found[id]) if id in found else None for id in ids]

    def _cancel_of(self, incarnation: str, id: str, table: JobTable, row: Any) -> bytes | None:
        if row.status != Status.CANCELLED or row.worker != incarnation:
            return None
        return ended(self.outcomes, id, table.facts.task, JobCancelled, f'Job "{id}" was cancelled.')

    def cancel(self, id: str) -> Cancelled:
        table = self.table_of(id)
        if table is None:
            return Cancelled.UNKNOWN
        with self._database.writing() as connection:
            row = self._locked(connection, table, id)
            if row is None or row.status in FINAL:
                return Cancelled.UNKNOWN if row is None else Cancelled.FINISHED
            values = {"status": "CANCELLED", "error": _CANCELLED, "updated_at": utcnow()}
            connection.execute(table.update(values), {"_keys": [table.key_of(id)]})
        return Cancelled.ASKED if row.status == Status.RUNNING else Cancelled.DONE

    def _locked(self, connection: Connection, table: JobTable, id: str) -> Any:
        return connection.execute(table.fence, {"_keys": [table.key_of(id)]}).first()

    def replay(self, ids: Sequence[str]) -> list[Replayed]:
        again = {"status": "PENDING", "attempt": 1, "deaths": 0, "due_at": utcnow(), "updated_at": utcnow()}
        return [self._move_dead(id, again, notifies=True) for id in ids]

    def discard(self, ids: Sequence[str]) -> list[Replayed]:
        """The rows stay, since they are the user's: as CANCELLED they are dead letters no more."""
        return [self._move_dead(id, {"status": "CANCELLED", "updated_at": utcnow()}, notifies=False) for id in ids]

    def _move_dead(self, id: str, values: dict[str, Any], *, notifies: bool) -> Replayed:
        table = self.table_of(id)
        if table is None:
            return Replayed.MISSING
        with self._database.writing() as connection:
            row = self._locked(connection, table, id)
            if row is None or row.status != Status.FAILED:
                return Replayed.MISSING if row is None or row.status in FINAL else Replayed.OUTDATED
            connection.execute(table.update(values), {"_keys": [table.key_of(id)]})
            if notifies:
                notify(connection, table.facts.name)
        return Replayed.DONE


#: Every word that is a status.
_STATUSES = frozenset(Status)


def status_of(word: str) -> Status:
    """The status of a row. One with a word of the user's own is left alone, as a parked job is."""
    return Status(word) if word in _STATUSES else Status.PARKED


def outcome_of(outcomes: Sealer, table: JobTable, row: Any) -> bytes:
    """The outcome that a finished row stands for: it has no value, since the columns of the row are the result."""
    error = None
    if row.status != Status.SUCCESS:
        kind, _, message = (row.error or str(row.status)).partition(": ")
        error = ErrorInfo(kind, message)
    began, end = row.due_at.timestamp(), row.updated_at.timestamp()
    id, task, status = table.id_of(table.key_in(row)), table.facts.task, Status(row.status)
    worker = row.worker or ""
    outcome = Outcome(WIRE_VERSION, id, task, status, row.attempt, worker, began, end, error=error)
    return outcomes.seal(encode_outcome(outcome))
