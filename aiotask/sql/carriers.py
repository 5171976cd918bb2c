"""How a job gets into a transaction, per kind of connection, and what is known of its transaction afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any

from ..brokers.sql.outbox import insertion
from ..errors import ConfigError

__all__ = ["Carrier", "Collected", "Fate", "InsertingCarrier", "refuse_outside"]

#: Jobs that one INSERT writes: databases bound the number of its parameters.
_ROWS = 500


class Fate(Enum):
    """What is known of the transaction of a job."""

    OPEN = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    #: It cannot be told here.
    UNKNOWN = "unknown"


class Collected:
    """A job that was sent in a block: what its row in the outbox holds, and where that is."""

    __slots__ = ("app", "is_committed", "push", "row", "seq", "transaction", "was_dropped")

    def __init__(self, app: str, push: bytes) -> None:
        self.app = app
        self.push = push
        #: Number of its row, and of its transaction on PostgreSQL; None: not known.
        self.seq: int | None = None
        self.transaction: int | None = None
        #: Its object in the unit of work of a Session, and whether that has committed it.
        self.row: Any = None
        self.is_committed = False
        #: An error has ended the block without it.
        self.was_dropped = False


class Carrier(ABC):
    """Puts jobs into the transaction of one connection."""

    #: Whether the connection needs ``async with``.
    is_async = False

    @abstractmethod
    def enter(self) -> None:
        """At the beginning of the block. ConfigError: no transaction is open, and none will begin by itself."""

    async def enter_async(self) -> None:
        self.enter()

    @abstractmethod
    def add(self, job: Collected) -> None:
        """A job was sent in the block."""

    def drop(self, jobs: Sequence[Collected]) -> None:
        """An error has ended the block: none of its jobs is sent."""
        for job in jobs:
            job.was_dropped = True

    @abstractmethod
    def leave(self, jobs: Sequence[Collected]) -> None:
        """At the end of the block."""

    @abstractmethod
    async def leave_async(self, jobs: Sequence[Collected]) -> None:
        """At the end of the block, on a connection that needs ``async with``."""

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open on the connection now, perhaps a later one."""
        return False

    def fate(self, job: Collected) -> Fate:
        """What is known of a job without asking the database."""
        if job.was_dropped:
            return Fate.ROLLED_BACK
        return Fate.OPEN if job.seq is None else Fate.UNKNOWN


class InsertingCarrier(Carrier):
    """Inserts the jobs at the end of the block."""

    is_sqlite = False

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any]) -> Any:
        """Execute an INSERT. The result: the number of the last row on SQLite, else all rows that it returns; where the
        connection needs ``async with``, an awaitable of that."""

    def mark(self, number: int) -> str:
        """The placeholder of a parameter."""
        return "?" if self.is_sqlite else "%s"

    def check(self) -> None:
        """ConfigError: no transaction is open."""

    def enter(self) -> None:
        self.check()

    def add(self, job: Collected) -> None:
        """Nothing: the block keeps its jobs until it ends."""

    def leave(self, jobs: Sequence[Collected]) -> None:
        for part, sql, parameters in self._statements(jobs):
            self._note(part, self.execute(sql, parameters))

    async def leave_async(self, jobs: Sequence[Collected]) -> None:
        for part, sql, parameters in self._statements(jobs):
            found = self.execute(sql, parameters)
            self._note(part, await found if self.is_async else found)

    def _statements(self, jobs: Sequence[Collected]) -> list[tuple[Sequence[Collected], str, list[Any]]]:
        if jobs:
            self.check()
        found = []
        for at in range(0, len(jobs), _ROWS):
            part = jobs[at : at + _ROWS]
            sql = insertion(len(part), self.mark, is_sqlite=self.is_sqlite)
            found.append((part, sql, [value for job in part for value in (job.app, job.push)]))
        return found

    def _note(self, part: Sequence[Collected], found: Any) -> None:
        if self.is_sqlite:
            # One statement numbers its rows one after the other.
            first = found - len(part) + 1
            for n, job in enumerate(part):
                job.seq = first + n
            return
        for job, row in zip(part, found, strict=True):
            job.seq, job.transaction = row[0], row[1]


def refuse_outside(belongs: str) -> ConfigError:
    """The error for a connection without an open transaction."""
    return ConfigError(f"No transaction is open on this connection, so nothing could be rolled back with it. {belongs}")
