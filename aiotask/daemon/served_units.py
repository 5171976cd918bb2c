"""What a worker process serves: for each app that it has loaded, the tasks, the rows, or both."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..app import App
from ..parts.units import no_queue, units_of
from ..tasks.limits import shared_limits
from ..worker.scope import Scope
from ..worker.surroundings import Served
from ..worker.unit import Unit
from .app_facts import AppFacts, app_facts, row_facts
from .settings import WorkerSettings

__all__ = ["ServedUnit", "is_sending", "served_units"]


@dataclass(frozen=True, slots=True)
class ServedUnit:
    """One unit, the facts of it for supervisor and keeper, and the app that it belongs to."""

    app: App
    unit: Unit
    facts: AppFacts

    @property
    def served(self) -> Served:
        return self.unit.served

    def registered(self, number: int) -> dict[str, object]:
        """What the worker of the unit in this process registers; ``number``: of the process."""
        return {
            "pid": os.getpid(),
            "host": platform.node(),
            "python": platform.python_version(),
            **self.served.shown_queues,
            "tasks": self.served.registry.names,
            "since": time.time(),
            "number": number,
            **({"limits": shared} if (shared := shared_limits(self.served.registry)) else {}),
            **self.unit.registered,
        }


def served_units(apps: Iterable[tuple[App, Scope]], settings: WorkerSettings) -> list[ServedUnit]:
    """The units of these apps, each with what its jobs share.

    Raises:
        ConfigError: a broker or a database cannot be served by worker processes, or ``settings.queues`` leaves an app
            without a unit.
    """
    units = []
    for app, scope in apps:
        found = units_of(app, settings.queues, scope, settings.order)
        if not found:
            raise no_queue(app, settings.queues)
        for unit in found:
            units.append(
                ServedUnit(app, unit, app_facts(app, settings) if unit.rows is None else _row_facts(app, unit))
            )
    return units


def _row_facts(app: App, unit: Unit) -> AppFacts:
    # Imports SQLAlchemy, as the app has done.
    from .database_check import check_database

    check_database(app.database.open())
    return row_facts(app, unit)


def is_sending(units: Sequence[ServedUnit]) -> bool:
    """Whether jobs that were sent in this process are on their way to a broker."""
    return any(unit.app._client is not None and unit.app._client.is_sending for unit in units)
