"""The statements over ``aiotask_outbox``: jobs that wait there for the relay, in the order in which it sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ...broker import BATCH_BYTES, BATCH_JOBS, Push
from .database import Database
from .tables import add_tables, utcnow
from .wake import CHANNEL

__all__ = ["Batch", "Outbox", "Unrelayed", "insertion", "outbox_table", "packed", "unpacked"]

#: The batch of jobs that cannot be read, by this release at least; the relay leaves them alone.
UNREADABLE = "unreadable"
#: The table in SQL that is written by hand.
OUTBOX = "aiotask_outbox"
#: Rows that one statement names.
_NUMBERS = 500

packed: Callable[[Push], bytes] = msgspec.msgpack.Encoder().encode
unpacked: Callable[[bytes], Push] = msgspec.msgpack.Decoder(Push).decode


class Batch(NamedTuple):
    """Jobs that are sent to the broker in one call, again under this name if that has to be repeated."""

    name: str
    pushes: Sequence[Push]
    #: Numbers of rows whose job could not be read.
    unreadable: Sequence[int] = ()


class Unrelayed(NamedTuple):
    """The jobs of one app that wait for the relay."""

    app: str
    jobs: int
    #: Seconds since the oldest was inserted.
    age: float
    #: How many of them cannot be read.
    unreadable: int


def outbox_table(schema: str | None = None) -> sa.Table:
    """The table in a MetaData of its own."""
    return add_tables(sa.MetaData(), schema).outbox


class Outbox:
    """The jobs of one app that wait in its database. Each method is one transaction, in the calling thread."""

    def __init__(self, database: Database, app: str, schema: str | None = None) -> None:
        self._database = database
        self._app = app
        self._table = outbox_table(schema)

    def is_empty(self) -> bool:
        """Whether nothing waits for the relay."""
        table = self._table
        readable = sa.or_(table.c.batch.is_(None), table.c.batch != UNREADABLE)
        query = sa.select(table.c.seq).where(table.c.app == self._app, readable).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).first() is None

    def take(self) -> Batch | None:
        """The oldest batch; if there is none, the oldest jobs become one. None: no job waits.

        A batch that was sent and not deleted is taken again, by whichever relay comes first.
        """
        if self.is_empty():
            return None
        with self._database.writing() as connection:
            self._wait_for_others(connection)
            name = self._oldest(connection) or self._new_batch(connection)
            return self._read(connection, name) if name else None

    def _wait_for_others(self, connection: Connection) -> None:
        """Let one relay at a time make a batch, so that a second one finds it; SQLite has one writer anyway."""
        if not self._database.is_sqlite:
            key = sa.func.hashtext(f"{self._table.fullname}:{self._app}")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def _oldest(self, connection: Connection) -> str | None:
        table = self._table
        given = sa.and_(table.c.batch.is_not(None), table.c.batch != UNREADABLE)
        query = sa.select(table.c.batch).where(table.c.app == self._app, given).group_by(table.c.batch)
        found: str | None = connection.execute(query.order_by(sa.func.min(table.c.seq)).limit(1)).scalar()
        return found

    def _new_batch(self, connection: Connection) -> str | None:
        table = self._table
        query = sa.select(table.c.seq, sa.func.length(table.c.push)).where(
            table.c.app == self._app, table.c.batch.is_(None)
        )
        sizes = connection.execute(query.order_by(table.c.seq).limit(BATCH_JOBS)).all()
        numbers, size = list[int](), 0
        for seq, length in sizes:
            size += length
            if numbers and size > BATCH_BYTES:
                break
            numbers.append(seq)
        if not numbers:
            return None
        # Random, so that no other batch has ever had it: not one before a backup was restored, nor in another database.
        name = uuid4().hex
        connection.execute(sa.update(table).where(table.c.seq.in_(numbers)).values(batch=name))
        return name

    def _read(self, connection: Connection, name: str) -> Batch:
        table = self._table
        query = sa.select(table.c.seq, table.c.push).where(table.c.app == self._app, table.c.batch == name)
        pushes, unreadable = list[Push](), list[int]()
        for seq, push in connection.execute(query.order_by(table.c.seq)):
            try:
                pushes.append(unpacked(push))
            except msgspec.MsgspecError:
                unreadable.append(seq)
        if unreadable:
            connection.execute(sa.update(table).where(table.c.seq.in_(unreadable)).values(batch=UNREADABLE))
        return Batch(name, pushes, unreadable)

    def delete(self, batch: Batch) -> None:
        """Delete the jobs of a batch that the broker has accepted."""
        table = self._table
        with self._database.writing() as connection:
            connection.execute(sa.delete(table).where(table.c.app == self._app, table.c.batch == batch.name))

    # ---- single jobs

    def holds(self, seq: int, push: bytes) -> bool:
        """Whether this job waits for the relay, its transaction being committed."""
        table = self._table
        query = sa.select(table.c.seq).where(table.c.seq == seq, table.c.push == push)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def held(self, numbers: Sequence[int | None]) -> set[int]:
        """Which of these rows wait for the relay. The transactions of all of them are known to have committed."""
        found = set[int]()
        with self._database.reading() as connection:
            for at in range(0, len(numbers), _NUMBERS):
                part = self._table.c.seq.in_(numbers[at : at + _NUMBERS])
                found.update(connection.execute(sa.select(self._table.c.seq).where(part)).scalars())
        return found

    def status(self, transaction: int) -> str | None:
        """What PostgreSQL knows of a transaction or savepoint: ``in progress``, ``committed`` or ``aborted``; None: it
        is too old."""
        with self._database.reading() as connection:
            found: str | None = connection.execute(sa.select(sa.func.txid_status(transaction))).scalar()
            return found

    # ---- all of them

    @staticmethod
    def unrelayed(database: Database, schema: str | None = None) -> list[Unrelayed]:
        """How many jobs of each app wait, and how long."""
        table = outbox_table(schema)
        unreadable = sa.func.sum(sa.case((table.c.batch == UNREADABLE, 1), else_=0))
        columns = table.c.app, sa.func.count(), sa.func.min(table.c.created_at), utcnow(), unreadable
        with database.reading() as connection:
            rows = connection.execute(sa.select(*columns).group_by(table.c.app).order_by(table.c.app)).all()
        return [Unrelayed(app, count, _age(since, now), int(bad)) for app, count, since, now, bad in rows]


def _age(since: datetime, now: datetime) -> float:
    return max(now - since, timedelta()).total_seconds()


# ---- by hand, for connections that SQLAlchemy does not know

#: The number of the transaction, or savepoint, that has inserted a row: 64 bits, of which ``xmin`` has the lower 32.
_NUMBER = (
    "txid_current() + mod(xmin::text::bigint - mod(txid_current(), 4294967296) + 4294967296, 4294967296) AS transaction"
)


def insertion(count: int, mark: Callable[[int], str], *, is_sqlite: bool) -> str:
    """The INSERT of a number of jobs, whose parameters are their apps and pushes in turn.

    On PostgreSQL it returns number and transaction of each row, and tells the relay once the transaction has committed.

    Args:
        mark: the placeholder of the parameter with this number, from 1 on.
    """
    values = ", ".join(f"({mark(2 * n + 1)}, {mark(2 * n + 2)})" for n in range(count))
    insert = f"INSERT INTO {OUTBOX} (app, push) VALUES {values}"
    if is_sqlite:
        return insert
    return (
        f"WITH added AS ({insert} RETURNING seq, {_NUMBER}) "
        f"SELECT seq, transaction, pg_notify('{CHANNEL}', '{OUTBOX}')::text FROM added ORDER BY seq"
    )


def notification() -> sa.Select[Any]:
    """What tells the relay of jobs in a transaction of PostgreSQL, once that has committed."""
    return sa.select(sa.func.pg_notify(CHANNEL, OUTBOX))
