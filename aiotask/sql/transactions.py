"""Blocks in which every job that an app sends becomes part of a transaction of the user's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ..broker import Push
from ..brokers.sql.outbox import OUTBOX, packed
from ..brokers.sql.outbox import Outbox as Statements
from ..errors import ConfigError
from ..job import decode_job
from ..results.result import AsyncResult
from .alchemy import AsyncConnectionCarrier, AsyncSessionCarrier, ConnectionCarrier, SessionCarrier
from .carriers import Carrier, Collected, Fate
from .diverting import Scope
from .drivers import AioSqlite, AsyncPg, AsyncPsycopg, Django, Psycopg, Sqlite, django_connection
from .handles import Unsent

if TYPE_CHECKING:
    from ..brokers.sql.database import Database
    from ..client.client import Client
    from ..client.session import Session as ClientSession

__all__ = ["Outbox", "OutboxJob"]


class OutboxJob:
    """A job that was sent in a block of ``in_transaction``, for tests that look at what a transaction would send.

    Attributes:
        id: of the job.
        task: name of its task.
        queue: name of its queue.
        result: the handle that was returned to the caller.
    """

    def __init__(self, client: Client, push: Push, result: AsyncResult[Any]) -> None:
        self._client = client
        self._push = push
        self.result = result
        self.id = push.id
        self.task = result.task
        self.queue = push.queue

    @property
    def args(self) -> tuple[Any, ...]:
        """Its positional arguments, deserialized."""
        return self._call()[0]

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Its arguments by name, deserialized."""
        return self._call()[1]

    def _call(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        job = decode_job(self._client.jobs_sealer.open(self._push.sealed))
        return self._client.serializer.load_call(job.body, self.result.function)

    def __repr__(self) -> str:
        return f"<OutboxJob {self.id} {self.task}>"


class Outbox:
    """A block of ``App.in_transaction``: ``with``, or ``async with`` for connections of event loops.

    Args:
        client: of the app.
        database: of the app, where its relay looks for jobs.
        on: what carries the transaction.
    """

    def __init__(self, client: Client, database: Database, on: object) -> None:
        self._client = client
        self._carrier = carrier_of(on)
        self._unsent = Unsent(client, self._carrier, Statements(database, client.app))
        self._collected: list[tuple[Collected, OutboxJob]] = []
        self._scope: Scope | None = None
        self._was_entered = False

    @property
    def jobs(self) -> Sequence[OutboxJob]:
        """The jobs that were sent in the block, in their order, without those that were rolled back."""
        return [shown for job, shown in self._collected if self._carrier.fate(job) is not Fate.ROLLED_BACK]

    def __enter__(self) -> Self:
        if self._carrier.is_async:
            raise ConfigError("This is a connection of an event loop. Write `async with app.in_transaction(…):`.")
        self._carrier.enter()
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is not None:
            self._carrier.drop(self._all)
            return
        try:
            self._carrier.leave(self._all)
        except BaseException as failure:
            self._failed(failure)
            raise

    async def __aenter__(self) -> Self:
        await self._carrier.enter_async()
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is not None:
            self._carrier.drop(self._all)
            return
        try:
            await self._carrier.leave_async(self._all)
        except BaseException as failure:
            self._failed(failure)
            raise

    def _failed(self, error: BaseException) -> None:
        """The jobs could not be written: none of them is sent."""
        self._carrier.drop(self._all)
        if OUTBOX in str(error):
            error.add_note(
                f"Is the table {OUTBOX} missing? aiotask.sql.create_tables(app) makes it, or a migration. The block "
                "needs a connection to the database of the app, in which it lies."
            )

    @property
    def _all(self) -> list[Collected]:
        return [job for job, _ in self._collected]

    def _open(self) -> None:
        if self._was_entered:
            raise ConfigError("This block was entered before. Call app.in_transaction(…) for each block.")
        self._was_entered = True
        self._scope = Scope(self._client, self._collect)
        self._scope.open()

    def _close(self) -> None:
        # Let go of it: what keeps this object must not keep the client looking for blocks.
        scope, self._scope = self._scope, None
        assert scope is not None
        scope.close()

    def _collect(self, session: ClientSession, push: Push, result: AsyncResult[Any]) -> None:
        push = _as_sent_later(push)
        job = Collected(self._client.app, packed(push))
        self._carrier.add(job)
        self._collected.append((job, OutboxJob(self._client, push, result)))
        # The relay sends it: for this client it is a job of another one, whose outcome is told to this session.
        result.shared = True
        self._unsent.add(job, result)
        session.mailbox.expect(result)


def _as_sent_later(push: Push) -> Push:
    """The job as the relay sends it: delay and expiry count from now, and the broker may have it already."""
    now, special = time.time(), push.special
    eta = now + push.delay if push.eta is None and push.delay else push.eta
    if special is not None and special.expires < 0:
        special = msgspec.structs.replace(special, expires=now - special.expires)
    return msgspec.structs.replace(push, delay=0.0, eta=eta, custom=True, special=special)


# ---- what carries a transaction

#: By the package and name of a class that theirs derive from: none of these packages need be installed.
_KINDS: dict[tuple[str, str], Callable[[Any], Carrier]] = {
    ("sqlalchemy", "Session"): SessionCarrier,
    ("sqlalchemy", "AsyncSession"): AsyncSessionCarrier,
    ("sqlalchemy", "Connection"): ConnectionCarrier,
    ("sqlalchemy", "AsyncConnection"): AsyncConnectionCarrier,
    ("sqlalchemy", "scoped_session"): lambda on: carrier_of(on()),
    ("sqlalchemy", "async_scoped_session"): lambda on: carrier_of(on()),
    ("sqlite3", "Connection"): Sqlite,
    ("psycopg", "Connection"): Psycopg,
    ("psycopg", "AsyncConnection"): AsyncPsycopg,
    ("asyncpg", "Connection"): AsyncPg,
    ("asyncpg", "PoolConnectionProxy"): AsyncPg,
    ("aiosqlite", "Connection"): AioSqlite,
    ("django", "BaseDatabaseWrapper"): Django,
    ("django", "ConnectionProxy"): Django,
}


def carrier_of(on: Any) -> Carrier:
    """What puts jobs into the transaction of this session or connection.

    Raises:
        ConfigError: it is of no kind that aiotask knows.
    """
    if isinstance(on, str):
        return Django(django_connection(on))
    for each in type(on).__mro__:
        made = _KINDS.get((each.__module__.partition(".")[0], each.__name__))
        if made is not None:
            return made(on)
    raise ConfigError(
        f"in_transaction() got an object of type {type(on).__qualname__}. Give a Session, AsyncSession or "
        "scoped_session, a Connection of SQLAlchemy, sqlite3, psycopg, asyncpg or aiosqlite, or the alias of a "
        "database of Django."
    )
