"""Who is live, what the dead have left, and what is due: the moves of a keeper."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from ...broker import BATCH_JOBS, Delivery, Liveness, Recovered
from ...errors import BrokerError
from .database import Database
from .job_table import JobTable
from .settling import ERROR_LENGTH
from .tables import Tables, utcnow
from .wake import CHANNEL

__all__ = ["Keeping"]

#: Seconds between two looks at when the next row is due.
LOOK = 1.0
#: What the column of deaths holds at most.
MOST_DEATHS = 2**15 - 1


class Keeping:
    """Registers workers and hosts, gives back the rows of dead ones, and promotes those that are due.

    Args:
        delivery_of: the delivery of a row that was read without its class.
    """

    def __init__(
        self,
        database: Database,
        tables: Sequence[JobTable],
        own: Tables,
        delivery_of: Callable[[JobTable, Any], Delivery],
    ) -> None:
        self._database = database
        self._tables = tables
        self._workers, self._hosts = own.workers, own.hosts
        self._delivery_of = delivery_of
        #: When the next row is due, and when that was looked up (monotonic).
        self._due_at: float | None = None
        self._looked_at = -LOOK
        #: Raised at each call of ``leases``.
        self._beat = 0
        #: Hosts that this broker has renewed.
        self._renewed: set[str] = set()

    def check(self) -> None:
        """Fail where a table is missing."""
        with self._database.reading() as connection:
            connection.execute(sa.select(self._hosts.c.beat).limit(1))
            for table in self._tables:
                connection.execute(table.next_due)

    def _upsert(self, table: sa.Table, key: str, values: dict[str, Any], update: dict[str, Any]) -> sa.Insert:
        """An INSERT that may meet the row of another process, which did the same at this moment."""
        dialect: Any = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(table).values(values)
        found: sa.Insert = (
            statement.on_conflict_do_update(index_elements=[key], set_=update)
            if update
            else statement.on_conflict_do_nothing(index_elements=[key])
        )
        return found

    # ---- workers and hosts

    def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        with self._database.writing() as connection:
            workers = self._workers
            known = sa.select(workers.c.host).where(workers.c.incarnation == incarnation)
            if not incarnation.startswith(f"{host}.") or connection.execute(known).first() is not None:
                raise BrokerError(
                    f'"{incarnation}" cannot be enlisted on "{host}": each name is used only once. Take a new one.'
                )
            connection.execute(sa.insert(workers).values(incarnation=incarnation, host=host, facts=facts))
            connection.execute(self._upsert(self._hosts, "host", {"host": host, "beat": 0}, {}))

    def renew(self, host: str, counter: int) -> Liveness:
        values = {"host": host, "beat": counter}
        with self._database.writing_singly() as connection:
            hosts = self._hosts
            moved: Any = connection.execute(sa.update(hosts).where(hosts.c.host == host).values(beat=counter))
            if not moved.rowcount:
                # A host that was declared dead is gone from the table, and so are its workers.
                if host in self._renewed:
                    self._renewed.discard(host)
                    return Liveness.DEAD
                connection.execute(self._upsert(hosts, "host", values, {"beat": counter}))
        self._renewed.add(host)
        return Liveness.LIVE

    def leases(self) -> dict[str, int]:
        """The beats. On SQLite that of a host on this machine moves as long as one of its processes lives: a queue of
        writers must not kill it."""
        self._beat += 1
        with self._database.reading() as connection:
            found = connection.execute(sa.select(self._hosts.c.host, self._hosts.c.beat)).all()
        return {host: self._beat if self._lives_here(host) else beat or 0 for host, beat in found}

    def _lives_here(self, host: str) -> bool:
        """Whether a process of a host lives on this machine: it holds the lock of the host's file. A file without one
        does not keep a host alive: the keeper may be unable to prove that the host is gone, as where both were given
        different names for the machine."""
        return self._database.is_sqlite and "/" not in host and _is_locked(f"/dev/shm/aiotask-{host}")

    def declare_dead(self, host: str, counter: int | None) -> bool:
        hosts, workers = self._hosts, self._workers
        statement = sa.delete(hosts).where(hosts.c.host == host)
        if counter is not None:
            statement = statement.where(hosts.c.beat == counter)
        with self._database.writing() as connection:
            gone: Any = connection.execute(statement)
            if not gone.rowcount and counter is not None:
                return False
            connection.execute(sa.delete(workers).where(workers.c.host == host))
        return True

    # ---- what the dead have left

    def recover(self, dead: str, blame: frozenset[str], reason: str, keep: frozenset[str]) -> Recovered:
        moved, more = 0, False
        kept: list[Delivery] = []
        if not dead and not self._has_lost():
            return Recovered()
        with self._database.writing() as connection:
            for table in self._tables:
                rows, held = self._lost(connection, table, dead, keep)
                kept += [self._delivery_of(table, row) for row in held]
                moved += self._give_back(connection, table, rows, blame, reason)
                more = more or len(rows) == BATCH_JOBS
            # Not before: the rows that stay claimed would be taken from the caller by the next scan.
            if dead and not kept:
                connection.execute(sa.delete(self._workers).where(self._workers.c.incarnation == dead))
        return Recovered(moved, kept, more)

    def _has_lost(self) -> bool:
        """Whether there is anything to give back; reading takes no lock."""
        with self._database.reading() as connection:
            return any(connection.execute(table.lost, {"most": 1}).first() is not None for table in self._tables)

    def _lost(self, connection: Connection, table: JobTable, dead: str, keep: frozenset[str]) -> tuple[Any, Any]:
        if not dead:
            return connection.execute(table.lost, {"most": BATCH_JOBS}).all(), ()
        keys = [key for id in keep if (key := table.key_of(id)) is not None]
        parameters = {"most": BATCH_JOBS, "dead": dead, "_keys": keys}
        rows = connection.execute(table.lost_by, parameters).all()
        held = connection.execute(table.by_keys, {"_keys": keys}).all() if keys else ()
        return rows, [row for row in held if row.worker == dead and row.status == "RUNNING"]

    def _give_back(
        self, connection: Connection, table: JobTable, rows: Sequence[Any], blame: frozenset[str], reason: str
    ) -> int:
        if not rows:
            return 0
        keys = [table.key_in(row) for row in rows]
        for row, key in zip(rows, keys, strict=True):
            if table.id_of(key) in blame:
                connection.execute(table.update(_of_death(row, reason)), {"_keys": [key]})
        moved: Any = connection.execute(table.give_back, {"_keys": keys})
        notify(connection, table.facts.name)
        return int(moved.rowcount)

    # ---- what is due

    def promote(self, limit: int) -> tuple[int, float | None]:
        """On SQLite a look at the next due row is cheap; PostgreSQL is asked once a second."""
        now = time.monotonic()
        has_looked = now - self._looked_at < LOOK and (self._due_at is None or now < self._due_at)
        if has_looked and not self._database.is_sqlite:
            return 0, None if self._due_at is None else self._due_at - now
        left = self._next_due()
        moved = 0
        if left is not None and left <= 0:
            with self._database.writing() as connection:
                for table in self._tables:
                    moved += self._promote(connection, table, limit)
            left = self._next_due()
        self._looked_at = time.monotonic()
        self._due_at = None if left is None else self._looked_at + left
        return moved, left

    def _next_due(self) -> float | None:
        """Seconds until the next row is due; None: there is none."""
        least: float | None = None
        with self._database.reading() as connection:
            for table in self._tables:
                due, now = connection.execute(table.next_due).one()
                if due is not None:
                    left = (due - now).total_seconds()
                    least = left if least is None else min(least, left)
        return least

    def _promote(self, connection: Connection, table: JobTable, limit: int) -> int:
        keys = [row[0] for row in connection.execute(table.due, {"most": limit})]
        if not keys:
            return 0
        moved: Any = connection.execute(table.promote, {"_keys": keys})
        notify(connection, table.facts.name)
        return int(moved.rowcount)


def _is_locked(path: str) -> bool:
    """Whether another process has the lock of a file; False where that cannot be seen."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def notify(connection: Connection, table: str) -> None:
    """Tell all who listen, once this transaction is committed, that rows of a table may be ready."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, table[:1000])))


def _of_death(row: Any, reason: str) -> dict[str, Any]:
    """What is written into a row with which a process died."""
    words = f"its process died: {reason or 'of an unknown cause'}"[:ERROR_LENGTH]
    entry = {"attempt": row.attempt, "at": row.updated_at.isoformat(), "worker": row.worker, "error": words}
    failures = [*(row.failures or ()), entry]
    return {
        "deaths": min(row.deaths, MOST_DEATHS - 1) + 1,
        "error": reason or words,
        "failures": failures,
        "updated_at": utcnow(),
    }
