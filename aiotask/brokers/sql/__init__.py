"""Rows of the user's own tables as jobs: the broker over a SQL database, SQLite or PostgreSQL.

A worker process gets its broker from the app, which has the mapped classes::

    app.rows                   # None: the app has no row classes
    app.rows.registry          # Definitions, whose functions take the id of a row
    app.rows.serializer, app.rows.secrets, app.rows.queues
    app.rows.facts()           # a RowFacts, to be sent to the keeper
    app.rows.broker()          # a RowBroker for the running loop, in the process that runs the jobs

The keeper and the commands import no user code: ``connect(facts, app)`` is their broker, which has every verb but
claims nothing. ``inspect(broker)`` is the read side of either. This module, ``address``, ``facts`` and ``technology``
import no SQLAlchemy, so that every process may import them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .address import open_database
from .facts import RowFacts

if TYPE_CHECKING:
    from ...broker import Broker
    from ...inspector import Inspector
    from .broker import RowBroker

__all__ = ["RowFacts", "connect", "inspect"]


def connect(facts: RowFacts, app: str) -> RowBroker:
    """The broker of an app's rows in a process that does not have its classes; nothing is sent yet.

    Raises:
        ConfigError: SQLAlchemy or a driver is not installed, or ``module:attribute`` leads nowhere.
    """
    database = open_database(facts.address)
    from .broker import RowBroker
    from .job_table import JobTable, light_table
    from .tables import new_tables

    own = new_tables(facts.schema)
    tables = [JobTable(table, light_table(table), own, is_sqlite=database.is_sqlite) for table in facts.tables]
    return RowBroker(app, database, tables, own, facts.secret)


def inspect(broker: Broker) -> Inspector:
    """The read side of a broker of rows."""
    from .inspector import RowInspector

    return RowInspector(broker)
