"""Carriers for sessions and connections of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import InvalidRequestError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, registry

from ..brokers.sql.outbox import notification, outbox_table
from ..errors import ConfigError
from .begins import begin_really, begin_with, refuse_autocommit
from .carriers import Carrier, Collected, Fate, InsertingCarrier

if TYPE_CHECKING:
    # Its import fails where greenlet is not installed, which only event loops need.
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

__all__ = ["AsyncConnectionCarrier", "AsyncSessionCarrier", "ConnectionCarrier", "SessionCarrier"]


class OutboxJob:
    """A job in the unit of work of a Session: a row of ``aiotask_outbox``."""

    app: str
    push: bytes


registry().map_imperatively(OutboxJob, outbox_table())


class _Recorder:
    """Follows the transactions of one Session, and notes which of its jobs were committed."""

    def __init__(self, session: Session) -> None:
        #: Jobs of the transaction that is open.
        self._jobs: list[Collected] = []
        event.listen(session, "after_begin", self._on_begin)
        event.listen(session, "after_flush", self._on_flush)
        event.listen(session, "after_commit", self._on_commit)
        event.listen(session, "after_transaction_end", self._on_end)

    @classmethod
    def of(cls, session: Session) -> _Recorder:
        """The one recorder of a Session."""
        found: _Recorder = session.info.get("aiotask") or session.info.setdefault("aiotask", cls(session))
        return found

    def add(self, job: Collected) -> None:
        self._jobs.append(job)

    def _on_begin(self, session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        begin_really(connection)

    def _on_flush(self, session: Session, context: Any) -> None:
        """Tell the relay, with the commit."""
        if any(type(each) is OutboxJob for each in session.new):
            connection = session.connection(bind_arguments={"mapper": OutboxJob})
            if connection.dialect.name == "postgresql":
                connection.execute(notification())

    def _on_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        for job in self._jobs:
            # Also of a row that the session has let go of (expunge): a rollback takes the key from it all the same.
            key = sa.inspect(job.row).key
            if key is not None and not job.was_dropped:
                job.is_committed, job.seq = True, key[1][0]

    def _on_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            for job in self._jobs:
                job.was_dropped = not job.is_committed
            self._jobs.clear()


class SessionCarrier(Carrier):
    """Every job becomes a pending object of the Session: its flush, savepoints and rollback are those of the job."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The transaction that the session was joined to, which commits in its place.
        self._outer: Any = None

    def enter(self) -> None:
        bind = self._bind()
        refuse_autocommit(bind)
        if isinstance(bind, Connection) and bind.in_transaction():
            self._outer = bind.get_transaction()
        self._recorder = _Recorder.of(self._session)
        if bind.dialect.name == "sqlite" and (self._session.in_transaction() or self._outer is not None):
            # One that is not open yet is begun by the recorder.
            begin_really(self._session.connection(bind_arguments={"mapper": OutboxJob}))

    def _bind(self) -> Any:
        try:
            return self._session.get_bind(OutboxJob)
        except UnboundExecutionError as error:
            raise ConfigError(
                "The Session has no engine for the table aiotask_outbox. Give it one: Session(engine), or "
                "sessionmaker(engine)."
            ) from error

    def add(self, job: Collected) -> None:
        row = OutboxJob()
        row.app, row.push = job.app, job.push
        try:
            self._session.add(row)
        except InvalidRequestError as error:
            raise ConfigError(
                f"{str(error).rstrip('.')}. Write the block of in_transaction inside of `with session.begin():`."
            ) from error
        job.row = row
        self._recorder.add(job)

    def drop(self, jobs: Sequence[Collected]) -> None:
        for job in jobs:
            job.was_dropped = not job.is_committed
            state: Any = sa.inspect(job.row)
            if state.pending:
                self._session.expunge(job.row)
            elif state.key is not None and not state.deleted and job.was_dropped:
                self._session.delete(job.row)

    def leave(self, jobs: Sequence[Collected]) -> None:
        """The unit of work has the jobs already."""

    async def leave_async(self, jobs: Sequence[Collected]) -> None:
        """The unit of work has the jobs already."""

    def fate(self, job: Collected) -> Fate:
        if job.was_dropped:
            return Fate.ROLLED_BACK
        if job.is_committed:
            if self._outer is None:
                return Fate.COMMITTED
            return Fate.OPEN if self._outer.is_active else Fate.UNKNOWN
        state: Any = sa.inspect(job.row)
        return Fate.OPEN if state.pending or state.key is not None else Fate.ROLLED_BACK


class AsyncSessionCarrier(SessionCarrier):
    """The same for an AsyncSession."""

    is_async = True

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session.sync_session)
        self._async_session = session

    async def enter_async(self) -> None:
        await self._async_session.run_sync(lambda session: self.enter())


class ConnectionCarrier(InsertingCarrier):
    """A Connection of SQLAlchemy: the jobs are inserted as the block ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_sqlite = connection.dialect.name == "sqlite"

    def enter(self) -> None:
        refuse_autocommit(self._connection)
        if self.is_sqlite:
            begin_with(self._connection)

    def mark(self, number: int) -> str:
        style = self._connection.dialect.paramstyle
        return {"qmark": "?", "numeric_dollar": f"${number}"}.get(style, "%s")

    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        found = self._connection.exec_driver_sql(sql, tuple(parameters))
        return found.lastrowid if self.is_sqlite else found.all()

    @property
    def is_open(self) -> bool:
        return not self._connection.closed and self._connection.in_transaction()


class AsyncConnectionCarrier(ConnectionCarrier):
    """The same for an AsyncConnection."""

    is_async = True

    def __init__(self, connection: AsyncConnection) -> None:
        if connection.sync_connection is None:
            raise ConfigError("The AsyncConnection was not opened: `async with engine.connect() as connection:`.")
        super().__init__(connection.sync_connection)
        self._async_connection = connection

    async def enter_async(self) -> None:
        await self._async_connection.run_sync(lambda connection: self.enter())

    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        execute = super().execute
        return self._async_connection.run_sync(lambda connection: execute(sql, parameters))
