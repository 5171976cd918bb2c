"""What a worker calls for a row: ``run`` on the object, ``error`` after a failure, and the session around both."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..brokers.sql.claimed import ClaimedRow
from ..brokers.sql.database import Database
from ..brokers.sql.faults import in_our_words
from ..errors import AiotaskError, ConnectionLost, Interrupted, JobTimeout
from ..wire.error_form import text_of
from .sessions import JobSession, end_in_session, is_held, is_used

__all__ = ["Running"]

logger = logging.getLogger("aiotask.worker")

T = TypeVar("T")

#: Sessions on connections of the parent process, in a process that a run has forked: it leaves them alone. Kept here,
#: since a collected connection is rolled back. The process ends where the run would.
_of_the_parent: list[ExitStack] = []
_OWN_ROW = (
    'The run of row "{id}" has deleted this row, or changed its status, with a statement of its session. What it did '
    "with that session is undone. Delete the row with object_session(self).delete(self), and leave its status alone."
)


class Running:
    """Runs the claimed rows of one class.

    Args:
        in_hand: the claimed rows by id.
        timeout: seconds that a run may take; None: no limit.
        async_session: an AsyncSession for the running loop; None: the database has no async driver.
    """

    def __init__(
        self,
        database: Database,
        in_hand: dict[str, ClaimedRow],
        timeout: float | None,
        async_session: Callable[[], AbstractAsyncContextManager[Any] | None],
    ) -> None:
        self._database = database
        self._in_hand = in_hand
        self._timeout = timeout
        self._async_session = async_session

    # ---- sync

    def run(self, id: str) -> None:
        """Run the row with this id."""
        claimed, began, pid = self._in_hand[id], time.monotonic(), os.getpid()
        with ExitStack() as stack:
            session = stack.enter_context(self._session())
            session.add(claimed.row)
            try:
                try:
                    claimed.row.run()
                finally:
                    if is_copy := os.getpid() != pid:
                        _of_the_parent.append(stack.pop_all())
                if not is_copy:
                    self._leave(session, claimed, began)
            except Exception as error:
                if not is_copy:
                    self._failed(session, claimed, error)
                raise
            except Interrupted:
                if (late := self._late(id, began)) is not None:
                    self._failed(session, claimed, late)
                raise

    def _session(self) -> JobSession:
        return JobSession(self._database.users(), expire_on_commit=False)

    def _leave(self, session: Session, claimed: ClaimedRow, began: float) -> None:
        """End a run that has returned: at once if it has used its session, else with the batch of its worker."""
        claimed.note_inner_changes()
        if is_used(session, claimed.row):
            if (late := self._late(claimed.table.id_of(claimed.key), began)) is not None:
                raise late
            self._commit(session, claimed)
        session.expunge_all()

    def _commit(self, session: Session, claimed: ClaimedRow) -> None:
        try:
            claimed.settled = end_in_session(session, claimed)
            if claimed.settled:
                session.commit()
            else:
                session.rollback()
                if is_held(session, claimed):
                    claimed.settled = None
                    raise AiotaskError(_OWN_ROW.format(id=claimed.table.id_of(claimed.key)))
        except SQLAlchemyError as error:
            claimed.settled = None
            if isinstance(in_our_words(error), ConnectionLost):
                # Whether it was committed is not known: if it was, the row is final, and does not run again.
                claimed.runs_again = claimed.may_run_again
            raise

    def _late(self, id: str, began: float) -> JobTimeout | None:
        """The error of a run that is past its time limit."""
        if self._timeout is None or time.monotonic() - began < self._timeout:
            return None
        return JobTimeout(f'Row "{id}" ran longer than its limit of {self._timeout:g} s.')

    # ---- async

    async def run_async(self, id: str) -> None:
        """Run the row with this id in this event loop."""
        claimed, began = self._in_hand[id], time.monotonic()
        block = self._async_session()
        if block is None:
            await self._run_alone(claimed, began)
            return
        async with block as session:
            session.add(claimed.row)
            try:
                await claimed.row.run()
                await session.run_sync(self._leave, claimed, began)
            except Exception as error:
                await session.run_sync(self._failed, claimed, error)
                raise
            except asyncio.CancelledError:
                if (late := self._late(id, began)) is not None:
                    await _whatever_comes(session.run_sync(self._failed, claimed, late))
                raise

    async def _run_alone(self, claimed: ClaimedRow, began: float) -> None:
        """Run a row that has no session, since its database has no async driver."""
        try:
            await claimed.row.run()
            claimed.note_inner_changes()
        except Exception as error:
            await asyncio.to_thread(self._failed_apart, claimed, error)
            raise
        except asyncio.CancelledError:
            if (late := self._late(claimed.table.id_of(claimed.key), began)) is not None:
                await _whatever_comes(asyncio.to_thread(self._failed_apart, claimed, late))
            raise

    def _failed_apart(self, claimed: ClaimedRow, error: Exception) -> None:
        with self._session() as session:
            self._failed(session, claimed, error)

    # ---- failures

    def _failed(self, session: Session, claimed: ClaimedRow, error: Exception) -> None:
        """Undo what a run has done, and call ``error`` on a fresh copy of the row; its changes end with the row."""
        claimed.note = f"{type(error).__name__}: {text_of(error)}"
        claimed.row = None
        try:
            self._call_error(session, claimed, error)
        except Exception as second:
            logger.exception("error() of row %s failed.", claimed.table.id_of(claimed.key))
            claimed.note += f"\n(error() raised {type(second).__name__}: {text_of(second)})"
            claimed.row = None
            claimed.additions = []
        finally:
            claimed.failed = True
            session.expunge_all()

    def _call_error(self, session: Session, claimed: ClaimedRow, error: Exception) -> None:
        fresh = None if claimed.runs_again else self._fresh(session, claimed, error)
        if fresh is None:
            return
        session.info.clear()
        # Before the call, which may change the inside of a JSON column.
        claimed.reload(fresh)
        fresh.error(error)
        claimed.note_inner_changes()
        if session.info:
            # What it has done with its session cannot wait for the batch.
            session.commit()
            claimed.row = None
        else:
            claimed.additions = list(session.new)

    def _fresh(self, session: Session, claimed: ClaimedRow, error: Exception) -> Any:
        """A copy of the row as it was before the run. None: the row was deleted, or the database does not answer; then
        the row runs again, since ``error`` is called after each run that failed."""
        try:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                session.invalidate()
            else:
                session.rollback()
            session.expunge_all()
            fresh = session.get(claimed.table.model, claimed.key)  # type: ignore[arg-type]
            # Commits nothing: it ends the transaction of the look.
            session.commit()
        except SQLAlchemyError as second:
            if not isinstance(in_our_words(second), ConnectionLost):
                raise
            claimed.runs_again = True
            return None
        return fresh


async def _whatever_comes(work: Awaitable[T]) -> T:
    """The value of something awaited in a task that is being cancelled, and may be cancelled again meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()
