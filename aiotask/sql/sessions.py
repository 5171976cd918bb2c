"""The session of one run, and how what the run has done with it ends together with its row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_state

from ..brokers.sql.claimed import ClaimedRow, Proof
from ..brokers.sql.database import take_write_lock
from ..brokers.sql.settling import fenced, write_end
from ..job import Status

__all__ = ["JobSession", "end_in_session", "is_held", "is_used"]

#: In ``Session.info``: that a transaction has begun, and how many rows an SQLite connection had changed by then.
_BEGUN, _CHANGED = "aiotask_begun", "aiotask_changed"


class JobSession(Session):
    """The session to which a row belongs while its ``run`` is under way (``object_session(self)``)."""


@event.listens_for(JobSession, "after_begin")
def _note_begin(session: Session, transaction: Any, connection: Any) -> None:
    session.info[_BEGUN] = True
    if connection.dialect.name == "sqlite":
        session.info[_CHANGED] = connection.connection.driver_connection.total_changes


def is_used(session: Session, row: Any) -> bool:
    """Whether a run has used its session."""
    if session.info.get(_BEGUN) or session.new or session.deleted:
        return True
    return any(each is not row for each in session.dirty)


def end_in_session(session: Session, claimed: ClaimedRow) -> bool:
    """End a row as SUCCESS in the transaction of its run, not yet committed. False: it is no longer this worker's."""
    session.autoflush = False
    _lock(session)
    table, proof = claimed.table, Proof(claimed.proof)
    row: Any = fenced(session, table, [claimed.key]).get(claimed.key)
    if row is None and instance_state(claimed.row).deleted:
        # The run has deleted its own row.
        return True
    if not _is_proved(row, proof):
        return False
    if claimed.row not in session.deleted:
        _write(session, claimed, {"status": str(Status.SUCCESS), "updated_at": row.now})
    session.flush()
    return True


def is_held(session: Session, claimed: ClaimedRow) -> bool:
    """Whether a row that could not end in the transaction of its run is this worker's all the same, now that the
    transaction is undone: the run itself has deleted the row there, or moved it."""
    row = fenced(session, claimed.table, [claimed.key], waits=False).get(claimed.key)
    return _is_proved(row, Proof(claimed.proof))


def _is_proved(row: Any, proof: Proof) -> bool:
    if row is None or row.status != Status.RUNNING:
        return False
    return bool(row.claims == proof.claims and row.worker == proof.worker)


def _write(session: Session, claimed: ClaimedRow, values: dict[str, Any]) -> None:
    """Write the end of a row, also of one that its run has taken out of the session: with ``close()``, or by adding it
    to another session."""
    table, state = claimed.table, instance_state(claimed.row)
    if state.key is not None and state.detached and session.identity_map.get(state.key) is None:
        session.add(claimed.row)
    if claimed.row in session:
        write_end(session, claimed.row, values, removes=table.facts.delete_when_done)
    elif table.facts.delete_when_done:
        session.execute(table.delete, {"_keys": [claimed.key]})
    else:
        session.execute(table.update(values), {"_keys": [claimed.key]})


def _lock(session: Session) -> None:
    """Take the write lock of SQLite. A transaction that has only read begins anew: it could not write any more once
    another process has written."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction or driver.total_changes == session.info.get(_CHANGED):
            take_write_lock(connection)
