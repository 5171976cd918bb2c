"""How claimed rows end, or go back: one transaction for a batch, in which only rows that are still claimed change."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from ...broker import Delivery, Finish, Requeue, Settled
from ...errors import BrokerError, SealError
from ...job import FINAL, Status
from ...outcome import decode_outcome
from ...wire.seal import Sealer
from .claimed import ClaimedRow, Proof
from .database import Database
from .job_table import JobTable
from .one_statement import success_of

__all__ = ["Ending", "Settling", "fenced", "write_end"]

logger = logging.getLogger("aiotask.worker")

#: Characters of an error that a row keeps.
ERROR_LENGTH = 10_000
#: Milliseconds for which an end waits for a lock on its row.
LOCK_WAIT = 200


class Ending:
    """One row that is to end or to go back, and what is to be written then.

    Attributes:
        error: the error of the run in words; None: the row keeps the one that it has.
        attempt: number of the next run; None: as it is.
        delay: seconds until the next run; None: the row is due as it was.
    """

    __slots__ = (
        *("answer", "attempt", "claimed", "counts", "delay", "error", "id", "is_broken"),
        *("key", "proof", "status", "table"),
    )

    def __init__(self, table: JobTable | None, delivery: Delivery, claimed: ClaimedRow | None) -> None:
        self.id = delivery.id
        self.table = table
        self.key = None if table is None else table.key_of(delivery.id)
        self.proof = delivery.entry
        self.claimed = claimed if claimed is not None and claimed.proof == delivery.entry else None
        self.status = Status.PENDING
        self.error: str | None = None
        #: Whether the run counts as an attempt that failed.
        self.counts = False
        self.attempt: int | None = None
        self.delay: float | None = None
        #: Whether the changes of the run cannot be written.
        self.is_broken = False
        self.answer = Settled.NOT_YOURS

    def values(self, row: Any) -> dict[str, Any]:
        """What is written, by column; ``row`` is what the fence has read."""
        now: datetime = row.now
        values: dict[str, Any] = {"status": str(self.status), "updated_at": now}
        if self.error is not None:
            values["error"] = self.error[:ERROR_LENGTH]
        if self.counts:
            entry = {"attempt": row.attempt, "at": now.isoformat(), "worker": row.worker, "error": values["error"]}
            values["failures"] = [*(row.failures or ()), entry]
        if self.attempt is not None:
            values["attempt"] = self.attempt
        if self.delay is not None:
            values["due_at"] = now + timedelta(seconds=self.delay)
        return values


#: Attributes of ``RowJob`` whose columns have other names.
_ATTRIBUTES = {"error": "last_error"}


class Settling:
    """Ends and gives back claimed rows.

    Args:
        tables: by queue and name, as ``RowBroker`` has them.
        in_hand: the rows of mapped classes that this process has claimed, by id.
        outcomes: opens the outcomes of rows.
    """

    def __init__(
        self, database: Database, tables: Sequence[JobTable], in_hand: dict[str, ClaimedRow], outcomes: Sealer
    ) -> None:
        self._database = database
        self._tables = tables
        self._in_hand = in_hand
        self._outcomes = outcomes
        self._single: dict[JobTable, sa.UpdateBase] = {}

    def table_of(self, id: str) -> JobTable | None:
        """The table of a job; None: it is in none of them. A name may be the beginning of another one."""
        found = [table for table in self._tables if table.key_of(id) is not None]
        return max(found, key=lambda table: len(table.prefix), default=None)

    def finish(self, batch: Sequence[Finish], *, repeat: bool) -> list[Settled]:
        return self._settle([self._ending(item) for item in batch], repeat)

    def requeue(self, batch: Sequence[Requeue], *, repeat: bool) -> list[Settled]:
        return self._settle([self._return(item) for item in batch], repeat)

    # ---- what is to be written

    def _ending(self, item: Finish) -> Ending:
        ending = self._of(item.delivery)
        ending.status = item.status
        claimed = ending.claimed
        if claimed is not None and claimed.runs_again:
            ending.status = Status.PENDING
        elif item.status is not Status.SUCCESS:
            ending.error = (claimed.note if claimed is not None else "") or self._words(item.outcome)
            ending.counts = item.status is Status.FAILED
        return ending

    def _return(self, item: Requeue) -> Ending:
        ending = self._of(item.delivery)
        claimed = ending.claimed
        if item.meta.attempt > item.delivery.meta.attempt and not (claimed is not None and claimed.runs_again):
            ending.status = Status.RETRYING
            ending.attempt, ending.delay = item.meta.attempt, item.delay
            ending.counts = True
            ending.error = (claimed.note if claimed is not None else "") or _KILLED
        elif item.delay:
            ending.status, ending.delay = Status.SCHEDULED, item.delay
        return ending

    def _of(self, delivery: Delivery) -> Ending:
        return Ending(self.table_of(delivery.id), delivery, self._in_hand.get(delivery.id))

    def _words(self, outcome: bytes) -> str:
        try:
            error = decode_outcome(self._outcomes.open(outcome)).error
        except SealError as fault:
            return str(fault)
        return "" if error is None else f"{error.type.rpartition('.')[2]}: {error.message}"

    # ---- writing it

    def _settle(self, endings: list[Ending], repeat: bool) -> list[Settled]:
        left = endings if self._database.is_sqlite else self._end_at_once(endings)
        locked = self._write_all(left, repeat, waits=False) if left else []
        if locked:
            self._write_all(locked, repeat, waits=True)
        for ending in endings:
            if ending.claimed is not None:
                self._in_hand.pop(ending.id, None)
        return [ending.answer for ending in endings]

    def _end_at_once(self, endings: list[Ending]) -> list[Ending]:
        """End rows on PostgreSQL in one round trip for each table, if all of them have succeeded and changed nothing.
        The result is those that have not ended so: they are not this worker's, or locked, or are written with more."""
        by_table: dict[tuple[JobTable, str], list[Ending]] = {}
        for ending in endings:
            if ending.table is None or not _is_plain(ending):
                return endings
            by_table.setdefault((ending.table, Proof(ending.proof).worker), []).append(ending)
        try:
            with self._database.one_by_one() as session:
                for (table, worker), these in by_table.items():
                    self._succeed(session.connection(), table, worker, these)
        except BrokerError:
            raise
        except Exception as error:
            logger.debug("Rows are ended singly: %s", _what_broke(error))
        return [ending for ending in endings if ending.answer is not Settled.DONE]

    def _succeed(self, connection: Connection, table: JobTable, worker: str, endings: list[Ending]) -> None:
        statement = self._single.get(table)
        if statement is None:
            statement = self._single[table] = success_of(table)
        keys, claims = [each.key for each in endings], [Proof(each.proof).claims for each in endings]
        ended = set(connection.execute(statement, {"_keys": keys, "_claims": claims, "_me": worker}).scalars())
        for each in endings:
            if each.key in ended:
                each.answer = Settled.DONE

    def _write_all(self, endings: list[Ending], repeat: bool, *, waits: bool) -> list[Ending]:
        """Write these ends; the result is those whose rows other transactions have locked."""
        try:
            return self._write(endings, repeat, waits=waits)
        except BrokerError:
            raise
        except Exception:
            # One of the rows is at fault: each is written on its own.
            for ending in endings:
                self._write_alone(ending, repeat)
            return []

    def _write_alone(self, ending: Ending, repeat: bool) -> None:
        try:
            self._write([ending], repeat, waits=True)
        except BrokerError:
            raise
        except Exception as error:
            ending.is_broken, ending.counts = True, True
            ending.status = Status.FAILED
            ending.error = _what_broke(error)
            self._write([ending], repeat, waits=True)

    def _write(self, endings: list[Ending], repeat: bool, *, waits: bool) -> list[Ending]:
        by_table: dict[JobTable, list[Ending]] = {}
        for ending in endings:
            if ending.claimed is not None and ending.claimed.settled is not None:
                ending.answer = Settled.DONE if ending.claimed.settled else Settled.NOT_YOURS
            elif ending.table is not None:
                by_table.setdefault(ending.table, []).append(ending)
                if ending.claimed is not None:
                    _ = ending.claimed.changes
        if not by_table:
            return []
        try:
            return self._write_tables(by_table, repeat, waits)
        except BaseException:
            for ending in endings:
                if ending.claimed is not None:
                    ending.claimed.is_stale = True
            raise

    def _write_tables(self, by_table: dict[JobTable, list[Ending]], repeat: bool, waits: bool) -> list[Ending]:
        """Write these ends in one transaction.

        Args:
            waits: a moment for rows that the user's transactions have locked, on PostgreSQL; BrokerError: one of them
                is locked still. This thread must not wait for as long as they last: it claims and ends other rows.
        """
        locked: list[Ending] = []
        with self._database.session() as session:
            session.autoflush = False
            if waits and not self._database.is_sqlite:
                session.connection().exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_WAIT}")
            for table, these in by_table.items():
                found = fenced(session, table, [ending.key for ending in these], waits=waits)
                held = set() if waits else _locked_by_others(session, table, these, found)
                locked += [ending for ending in these if ending.key in held]
                self._write_table(session, table, [each for each in these if each.key not in held], found, repeat)
            session.flush()
            session.expunge_all()
        return locked

    def _write_table(
        self, session: Session, table: JobTable, endings: list[Ending], found: dict[Any, Any], repeat: bool
    ) -> None:
        plain: list[tuple[Any, dict[str, Any]]] = []
        removed: list[Any] = []
        for ending in endings:
            row: Any = found.get(ending.key)
            ending.answer = _answer(row, ending, repeat, removes=table.facts.delete_when_done)
            if ending.answer is not Settled.DONE or row.status != Status.RUNNING:
                continue
            removes = table.facts.delete_when_done and ending.status is Status.SUCCESS
            if removes and not table.needs_object:
                removed.append(ending.key)
            elif not self._write_object(session, ending, row, removes):
                plain.append((ending.key, ending.values(row)))
        if removed:
            session.execute(table.delete, {"_keys": removed})
        for keys, values in _grouped(plain):
            session.execute(table.update(values), {"_keys": keys})

    def _write_object(self, session: Session, ending: Ending, row: Any, removes: bool) -> bool:
        """Write what user code has changed, in the unit of work. False: it has changed nothing that counts."""
        claimed, table = ending.claimed, ending.table
        if claimed is None or table is None or ending.is_broken or claimed.row is None:
            return False
        # What a run has changed counts if it has succeeded, what ``error`` has changed if it has not.
        if claimed.failed == (ending.status is Status.SUCCESS) or (ending.status is Status.PENDING):
            return False
        if not (claimed.changes or claimed.additions or removes):
            return False
        target = claimed.row
        if claimed.is_stale:
            target = session.get(_class_of(table), claimed.key)
            for name, value in claimed.changes.items():
                setattr(target, name, value)
        else:
            session.add(target)
        session.add_all(claimed.additions)
        write_end(session, target, ending.values(row), removes=removes)
        return True


def _is_plain(ending: Ending) -> bool:
    """Whether nothing but the success of a row is to be written."""
    if ending.status is not Status.SUCCESS or (ending.table is not None and ending.table.needs_object):
        return False
    claimed = ending.claimed
    if claimed is None:
        return True
    return not (claimed.failed or claimed.changes or claimed.additions) and claimed.settled is None


def _class_of(table: JobTable) -> type[Any]:
    assert table.model is not None
    return table.model


def write_end(session: Session, target: Any, values: dict[str, Any], *, removes: bool = False) -> None:
    """Write the end of a row with the object that stands for it."""
    if removes:
        session.delete(target)
        return
    for name, value in values.items():
        setattr(target, _ATTRIBUTES.get(name, name), value)


def fenced(session: Session, table: JobTable, keys: Sequence[Any], *, waits: bool = True) -> dict[Any, Any]:
    """What the database has of these rows, locked, by key: only what is still claimed may change.

    Args:
        waits: for rows that other transactions have locked; otherwise they are left out.
    """
    found = session.connection().execute(table.fence if waits else table.free_fence, {"_keys": list(keys)})
    return {row[0]: row for row in found}


def _locked_by_others(session: Session, table: JobTable, endings: list[Ending], found: dict[Any, Any]) -> set[Any]:
    """The keys of rows that the fence has left out although they are there."""
    left = [ending.key for ending in endings if ending.key not in found]
    if not left or session.get_bind().dialect.name == "sqlite":
        return set()
    return set(session.connection().execute(table.present, {"_keys": left}).scalars())


#: The error of a run that its own process cannot tell.
_KILLED = "The run was ended at its limit, and its process was killed."


def _answer(row: Any, ending: Ending, repeat: bool, *, removes: bool) -> Settled:
    if row is None:
        return Settled.BEFORE if removes and repeat else Settled.NOT_YOURS
    proof = Proof(ending.proof)
    if row.claims != proof.claims or row.worker != proof.worker:
        return Settled.NOT_YOURS
    if row.status == Status.RUNNING or (row.status == Status.CANCELLED and ending.status is Status.CANCELLED):
        return Settled.DONE
    return Settled.BEFORE if repeat and (row.status in FINAL or ending.status not in FINAL) else Settled.NOT_YOURS


def _grouped(rows: Iterable[tuple[Any, dict[str, Any]]]) -> list[tuple[list[Any], dict[str, Any]]]:
    """Keys by what is written to their rows: most of a batch end alike, and one statement is enough for them."""
    groups: dict[Any, tuple[list[Any], dict[str, Any]]] = {}
    for key, values in rows:
        known = values["status"] if len(values) == 2 else key
        groups.setdefault((len(values) == 2, known), ([], values))[0].append(key)
    return list(groups.values())


def _what_broke(error: Exception) -> str:
    """Why a row cannot be written, in the words of the database."""
    cause = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {str(cause).strip()}"
