"""Rows that this process has claimed: what stands between the claim, the run of user code, and the end."""

from __future__ import annotations

import copy
from typing import Any

from sqlalchemy.orm.attributes import flag_modified, get_history, instance_state, set_committed_value

from .job_table import MOST_CLAIMS, JobTable

__all__ = ["ClaimedRow", "Proof", "proof_of"]

#: Claims of one row that need not count as attempts.
MANY_CLAIMS = 10


class Proof:
    """What proves a claim: ``claims`` and ``worker`` of the row, before its id in the entry of the delivery."""

    __slots__ = ("claims", "worker")

    def __init__(self, entry: str) -> None:
        claims, _, rest = entry.partition(" ")
        self.worker = rest.partition(" ")[0]
        self.claims = int(claims) if claims.lstrip("-").isdecimal() else -1


def proof_of(claims: int, worker: str, id: str) -> str:
    return f"{claims} {worker} {id}"


class ClaimedRow:
    """One row of a mapped class between its claim and its end.

    Attributes:
        row: the object on which ``run`` is called; after a failed run a fresh one with what ``error`` has changed;
            None: nothing but the status is to be written.
        failed: whether ``row`` is that fresh one.
        additions: objects that ``error`` has added to its session.
        note: the error of the run in words.
        settled: whether the run's own transaction has ended the row (True), or has found that it belongs to another
            worker by now (False). None: neither.
        runs_again: whether the run's own transaction was lost with its connection: it is as if it had not run.
        may_run_again: whether that is believed. A row that has been claimed many times more often than its runs have
            counted may break the connection itself.
    """

    __slots__ = (
        *("_changes", "_loaded", "additions", "failed", "is_stale", "key", "may_run_again", "note", "proof"),
        *("row", "runs_again", "settled", "table"),
    )

    def __init__(self, table: JobTable, key: Any, row: Any, claims: int, worker: str) -> None:
        self.table = table
        self.key = key
        self.row = row
        self.proof = proof_of(claims, worker, table.id_of(key))
        self.note = ""
        self.additions: list[Any] = []
        self.failed = False
        self.settled: bool | None = None
        self.runs_again = False
        self.may_run_again = claims - row.attempt < MANY_CLAIMS
        #: Whether a transaction that wrote ``row`` was rolled back, which has expired it.
        self.is_stale = False
        self._changes: dict[str, Any] | None = None
        self._loaded = _copies(table, row)

    def note_inner_changes(self) -> None:
        """Mark JSON columns whose values have changed inside."""
        values = vars(self.row)
        for name, before in self._loaded.items():
            # A value that is not there was expired: the run has rolled its session back.
            if name in values and values[name] != before and not get_history(self.row, name).has_changes():
                flag_modified(self.row, name)

    def reload(self, row: Any) -> None:
        """Take a fresh object in place of the one that a failed run has changed."""
        self.row, self.failed = row, True
        self._loaded = _copies(self.table, row)

    @property
    def changes(self) -> dict[str, Any]:
        """The columns that the run has changed, by attribute. Kept from the first call on: a rollback expires them."""
        if self._changes is None:
            # Most runs change little: only what was assigned is looked at.
            state = None if self.row is None else instance_state(self.row)
            names = state.committed_state if state is not None and state.modified else ()
            columns = () if state is None else state.mapper.column_attrs
            self._changes = {
                name: getattr(self.row, name)
                for name in names
                if name in columns and get_history(self.row, name).has_changes()
            }
        return self._changes


def _copies(table: JobTable, row: Any) -> dict[str, Any]:
    """Copies of the JSON columns of a row that may change inside."""
    loaded = vars(row)
    values = {name: loaded[name] for name in table.json_attributes if name in loaded}
    return {name: copy.deepcopy(value) for name, value in values.items() if isinstance(value, dict | list)}


def mark_claimed(row: Any, worker: str) -> None:
    """Let a loaded object show what its claim has written."""
    set_committed_value(row, "status", "RUNNING")
    set_committed_value(row, "worker", worker)
    set_committed_value(row, "claims", row.claims + 1 if row.claims < MOST_CLAIMS else 1)
