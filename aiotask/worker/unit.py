"""One worker's work, in any kind of process: the tasks of an app on its broker, or the rows of an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..broker import Broker
from ..brokers.sql.facts import RowFacts, registered
from .surroundings import Served

if TYPE_CHECKING:
    from ..brokers.sql.database import Database

__all__ = ["Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one worker of a process runs, and one keeper of its host looks after.

    An app that has tasks and rows is two units, which share its lifespan. Each has its own broker.

    Attributes:
        app: the name of the app.
        connect: makes the broker of a worker, for the running event loop.
        connect_keeper: makes the broker of a keeper, for the running event loop.
        rows: facts of the rows; None: the unit is the tasks of the app.
        database: opens the database from whose outbox the keeper sends jobs to a broker; None: it sends none.
        send_to: the URL of that broker, with its password; empty: it is the one of ``connect_keeper``.
    """

    app: str
    served: Served
    connect: Callable[[], Broker]
    connect_keeper: Callable[[], Broker]
    rows: RowFacts | None = None
    database: Callable[[], Database] | None = None
    send_to: str = ""

    @property
    def source(self) -> str:
        """Where the jobs are, as the log calls it."""
        return "broker" if self.rows is None else "database"

    @property
    def registered(self) -> dict[str, object]:
        """What a worker of the unit registers besides the facts of its process: commands know an app's rows by it."""
        return {} if self.rows is None else registered(self.app, self.rows)
