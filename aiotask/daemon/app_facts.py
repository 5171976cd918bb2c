"""What supervisor and keeper know of the units of apps: facts that are sent by the worker which has loaded them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ..app import App
from ..broker import Broker
from ..brokers import connect, features, require, require_declared
from ..brokers.sql import connect as connect_rows
from ..brokers.sql.facts import RowFacts
from ..brokers.technology import HISTORY, PROCESSES
from ..errors import ConfigError
from ..worker.unit import Unit
from .settings import WorkerSettings

__all__ = ["AppFacts", "app_facts", "app_key", "connect_to", "row_facts"]

#: User and password, hidden or not, of a URL.
_USER = re.compile(r"//[^/@]*@")


class AppFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What supervisor and keeper need to know of the tasks of an app, or of its rows, as a worker has loaded them."""

    #: Of the app.
    name: str
    #: Of the broker or the database, with its password: pipes are private.
    address: str
    #: The same address for people, with the password hidden.
    url: str
    secrets: list[str]
    #: Whether the address is that of the embedded server.
    embedded: bool = False
    #: Names of the tasks, each once.
    tasks: list[str]
    #: The limits of the tasks, and when tasks run by themselves, for people: names, each with what it says in brackets.
    limits: list[str] = []
    schedules: list[str] = []
    #: Names of the queues that the worker consumes.
    queues: list[str]
    #: The same with their weights or in their strict order, for people; empty: they take equal turns.
    order: str = ""
    #: Needs of jobs that the worker meets, as in ``task:shop.tasks:render``.
    needs: list[str]
    #: The file that history is recorded in; None: it is not recorded.
    result_db: str | None = None
    #: Seconds that a finished job is kept there, and bytes that the file may grow to; 0: no bound.
    result_db_age: float = 0.0
    result_db_size: int = 0
    #: The rows of the app, in a database; None: these are facts of its tasks, on a broker.
    rows: RowFacts | None = None
    #: The database whose outbox the keeper sends, as it finds it: a URL with its password, or ``module:attribute``;
    #: empty: it sends none.
    database: str = ""
    #: The broker that it sends it to, with its password; empty: the one at ``address``.
    send_to: str = ""

    @property
    def label(self) -> str:
        """The name of the unit, which no other one has."""
        return self.name if self.rows is None else f"{self.name} (rows)"

    @property
    def lease(self) -> str:
        """What the lease of a host is bound to: a name on a broker, which each app has for itself, or a database."""
        return self.name if self.rows is None else self.address


def app_facts(app: App, settings: WorkerSettings) -> AppFacts:
    """The facts of an app that this process has loaded.

    Raises:
        ConfigError: the app keeps its jobs in memory, its broker has no history and one is to be recorded, or the
            keeper would not know its broker.
    """
    if PROCESSES not in features(app.url):
        raise ConfigError(
            f'The app "{app.name}" keeps its jobs in memory ("{app.url}"), where worker processes cannot reach them. '
            "Set AIOTASK_URL to a server, or run the worker where the jobs are: `async with app.worker(): …`."
        )
    path = Path(settings.result_db) if settings.result_db else app.result_db_path()
    if path is not None:
        require(app.url, HISTORY, "result_db")
    require_declared(app.url)
    return AppFacts(
        name=app.name,
        address=app.url,
        url=app.broker_url,
        secrets=list(app.secrets),
        embedded=app.embedded,
        tasks=[task.name for task in app.registry],
        limits=_limits_of(app),
        schedules=[f"{name} ({spec.words})" for name, spec in sorted((app.scheduled or {}).items())],
        queues=list(settings.queues) or app.registry.queues,
        order=settings.order.shown(settings.queues) if settings.order.by_queue else "",
        needs=app.registry.needs,
        result_db=str(path) if path is not None else None,
        result_db_age=settings.result_db_age,
        result_db_size=settings.result_db_size,
        database=app.database.travels if app.database else "",
    )


def _limits_of(app: App) -> list[str]:
    specs = {limited.spec.name: limited.spec for task in app.registry if (limited := task.more.get("limit"))}
    if not specs:
        return []
    # Loaded with the first limit.
    from ..tasks.limits import in_words

    return sorted(f"{spec.task or spec.name} ({in_words(spec)})" for spec in specs.values())


def row_facts(app: App, unit: Unit) -> AppFacts:
    """The facts of the rows of an app that this process has loaded."""
    assert unit.rows is not None
    registry = unit.served.registry
    return AppFacts(
        name=app.name,
        address=unit.rows.address,
        url=app.database.shown,
        # The secret of a process seals what does not leave it. It would make the facts of each process others.
        secrets=[""],
        rows=replace(unit.rows, secret=""),
        tasks=[task.name for task in registry],
        queues=list(unit.served.queues),
        order=unit.served.order.shown(unit.served.queues) if unit.served.order.by_queue else "",
        needs=registry.needs,
        database=app.database.travels if unit.send_to else "",
        send_to=unit.send_to,
    )


def app_key(app: AppFacts) -> tuple[str, str]:
    """What makes a unit the same one in another version of the code: its label and its broker or database, whatever
    the password."""
    return app.label, _USER.sub("//", app.url)


def connect_to(app: AppFacts) -> Broker:
    """The broker of a unit in a process that imports no code of the app; nothing is sent yet."""
    return connect(app.address, app.name) if app.rows is None else connect_rows(app.rows, app.name)
