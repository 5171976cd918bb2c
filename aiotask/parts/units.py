"""What the workers of an app are for: its tasks on its broker, and its rows in its database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from ..broker import Broker
from ..brokers import connect, features
from ..brokers.address import Address
from ..brokers.sql import connect as connect_rows
from ..brokers.sql.address import DatabaseAddress
from ..brokers.sql.facts import RowFacts
from ..brokers.technology import PROCESSES
from ..depends import Injection
from ..errors import ConfigError
from ..middleware import Hooks
from ..tasks.limits import specs_of
from ..tasks.task import Registry
from ..values.queue_order import EQUAL_TURNS, QueueOrder
from ..wire.serializer import Serializer
from ..worker.scope import Scope
from ..worker.surroundings import Served
from ..worker.unit import Unit

__all__ = ["AppOfUnits", "RowsOfUnit", "no_queue", "units_of"]


class RowsOfUnit(Protocol):
    """The rows of an app, as far as a unit needs them."""

    registry: Registry

    @property
    def serializer(self) -> Serializer: ...
    @property
    def secrets(self) -> Sequence[str]: ...
    @property
    def queues(self) -> list[str]: ...
    def facts(self) -> RowFacts: ...
    def broker(self) -> Broker: ...


class AppOfUnits(Protocol):
    """An app, as far as its units need it."""

    name: str
    registry: Registry
    address: Address
    database: DatabaseAddress
    hooks: Hooks
    lifespan: Injection

    @property
    def rows(self) -> RowsOfUnit | None: ...
    @property
    def serializer(self) -> Serializer: ...


def units_of(
    app: AppOfUnits, queues: Sequence[str] = (), scope: Scope | None = None, order: QueueOrder = EQUAL_TURNS
) -> list[Unit]:
    """The units of an app; one without tasks contacts a broker for jobs of transactions alone.

    Args:
        queues: names of queues, those of tables among them, to which the units are restricted. Empty: all queues.
        scope: what the jobs of the app share.
        order: of the queues.

    Raises:
        ConfigError: the address of the broker or the database is wrong.
    """
    scope = scope or Scope()
    rows = app.rows
    if rows is None:
        return [_tasks(app, queues or app.registry.queues, scope, order)]
    units = []
    own = {task.queue for task in app.registry}
    of_tasks = [queue for queue in queues if queue not in rows.queues or queue in own]
    if len(app.registry) and (of_tasks or not queues):
        units.append(_tasks(app, of_tasks or app.registry.queues, scope, order))
    of_rows = [queue for queue in queues if queue in rows.queues]
    if of_rows or not queues:
        # The outbox is one for tasks and rows, and so is its relay.
        send_to = "" if units else _broker_of_outbox(app)
        units.append(_rows(app, rows, of_rows or rows.queues, scope, order, send_to))
    return units


def no_queue(app: AppOfUnits, queues: Sequence[str]) -> ConfigError:
    """The error for an app that has rows alone, none of them in one of these queues."""
    known = ", ".join(app.rows.queues) if app.rows is not None else ""
    return ConfigError(
        f'The app "{app.name}" has rows and no tasks, and none of its tables is a queue named '
        f"{', '.join(queues)}. Its queues: {known}."
    )


def _tasks(app: AppOfUnits, queues: Sequence[str], scope: Scope, order: QueueOrder) -> Unit:
    url, secrets = app.address.locate()
    specs_of(app.registry)  # refuses two that contradict each other
    served = Served(app.registry, secrets, app.serializer, queues, order, app.hooks, lifespan=app.lifespan, scope=scope)
    open_broker = partial(connect, url, app.name)
    database = app.database.open if app.database else None
    return Unit(app.name, served, open_broker, open_broker, database=database)


def _broker_of_outbox(app: AppOfUnits) -> str:
    """The URL of the broker that the keeper of rows sends jobs of transactions to; empty: it sends none.

    No embedded server is started for them, and a broker in memory would lose them with its process.
    """
    url = app.address.given
    return url if url and PROCESSES in features(url) else ""


def _rows(
    app: AppOfUnits, rows: RowsOfUnit, queues: Sequence[str], scope: Scope, order: QueueOrder, send_to: str
) -> Unit:
    served = Served(
        rows.registry, rows.secrets, rows.serializer, queues, order, app.hooks, lifespan=app.lifespan, scope=scope
    )
    facts = rows.facts()
    database = app.database.open if send_to else None
    return Unit(app.name, served, rows.broker, partial(connect_rows, facts, app.name), facts, database, send_to)
