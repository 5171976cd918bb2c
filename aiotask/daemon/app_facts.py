"""What supervisor and keeper know of an app: facts that are sent by the worker which has loaded it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ..app import App
from ..brokers import features, require, require_declared
from ..brokers.technology import HISTORY, PROCESSES
from ..errors import ConfigError
from .settings import WorkerSettings

__all__ = ["AppFacts", "app_facts", "app_key"]

#: User and password, hidden or not, of a URL.
_USER = re.compile(r"//[^/@]*@")


class AppFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What supervisor and keeper need to know of an app, as a worker has loaded it."""

    name: str
    #: With its password: pipes are private.
    address: str
    #: The same address for people, with the password hidden.
    url: str
    secrets: list[str]
    #: Whether the address is that of the embedded server.
    embedded: bool = False
    #: Names of the tasks, each once.
    tasks: list[str]
    #: Names of the queues that the worker consumes.
    queues: list[str]
    #: Needs of jobs that the worker meets, as in ``task:shop.tasks:render``.
    needs: list[str]
    #: The file that history is recorded in; None: it is not recorded.
    result_db: str | None = None
    #: Seconds that a finished job is kept there, and bytes that the file may grow to; 0: no bound.
    result_db_age: float = 0.0
    result_db_size: int = 0
    #: The app's database, as its keeper finds it: a URL with its password, or ``module:attribute``; empty: it has none.
    database: str = ""


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
        queues=list(settings.queues) or app.registry.queues,
        needs=app.registry.needs,
        result_db=str(path) if path is not None else None,
        result_db_age=settings.result_db_age,
        result_db_size=settings.result_db_size,
        database=app.database.travels if app.database else "",
    )


def app_key(app: AppFacts) -> tuple[str, str]:
    """What makes an app the same one in another version of the code: its name and its broker, whatever the password."""
    return app.name, _USER.sub("//", app.url)
