"""The banner that a supervisor logs when its workers are up."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from importlib import metadata

import msgspec

from ..brokers.shown import hide_password
from ..log.events import plain
from .app_facts import AppFacts
from .messages import InService

__all__ = ["BannerApp", "BannerFacts", "Greeting", "announce", "banner"]


class BannerApp(msgspec.Struct, frozen=True, kw_only=True):
    """What the banner says about one app."""

    name: str
    url: str
    #: Kind and version.
    server: str
    durability: str
    tasks: list[str]
    #: With what they say, as in ``AppFacts``.
    limits: list[str] = []
    schedules: list[str] = []
    queues: list[str]
    #: The same with their weights or in their strict order; empty: they take equal turns.
    order: str = ""
    #: Jobs that waited before this start.
    pending: int
    #: Whether these are the rows of the app, in a database, and not its tasks.
    rows: bool = False
    #: The database whose outbox the keeper sends, and where to if it is not ``url``; empty: it sends none.
    outbox: str = ""
    send_to: str = ""


class BannerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the banner says; in a JSON log these are the fields of its object."""

    version: str
    python: str
    processes: int
    result_db: str | None
    apps: list[BannerApp]


def banner(facts: BannerFacts) -> str:
    """What a supervisor says when its workers are up, as lines of plain text."""
    workers = f"{facts.processes} worker process{'' if facts.processes == 1 else 'es'}"
    lines = [f"aiotask {facts.version}, Python {facts.python}, {workers}"]
    for app in facts.apps:
        lines += _app_lines(app)
    lines.append(_row("history", facts.result_db or _unrecorded(facts.apps)))
    return "\n".join(lines)


def _unrecorded(apps: Sequence[BannerApp]) -> str:
    if apps and all(app.rows for app in apps):
        return "the tables of the rows"
    return "not recorded (to record it: --result-db FILE)"


def _app_lines(app: BannerApp) -> list[str]:
    durability = f" ({app.durability})" if app.durability else ""
    tasks = _counted(app.tasks) if app.tasks else "none (has the module with the tasks been imported?)"
    rows = [
        _row("app", app.name),
        _row("database" if app.rows else "broker", f"{app.server} at {app.url}{durability}"),
        *_outbox_lines(app),
        _row("queues", app.order or ", ".join(app.queues)),
        _row("rows" if app.rows else "tasks", tasks),
    ]
    rows += [_row(label, _counted(names)) for label, names in _beside_tasks(app) if names]
    if app.pending:
        rows.append(_row("waiting", f"{app.pending:,} job{'' if app.pending == 1 else 's'} from before"))
    return rows


def _beside_tasks(app: BannerApp) -> tuple[tuple[str, list[str]], ...]:
    return ("limits", app.limits), ("schedule", app.schedules)


def _counted(names: list[str]) -> str:
    """How many there are, and the first ones."""
    return f"{len(names):,}: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def _outbox_lines(app: BannerApp) -> list[str]:
    if app.rows:
        return [_row("outbox", f"sent to {app.send_to}")] if app.send_to else []
    return [_row("database", f"{app.outbox} (its outbox)")] if app.outbox else []


def _row(label: str, text: str) -> str:
    return f"  {label:<8} {plain(text, 600)}"


def announce(facts: BannerFacts) -> None:
    """Log the banner: as it is for people, as one object in a JSON log."""
    extra = {"facts": {"event": "banner", **msgspec.to_builtins(facts)}}
    logging.getLogger("aiotask").info("%s", banner(facts), extra=extra)


logger = logging.getLogger("aiotask.supervisor")

#: Seconds that the banner waits for workers that have loaded their apps and are not in service.
IN_SERVICE_TIMEOUT = 2.0


class Greeting:
    """The banner, logged once: when every app has a worker in service, or after a while without."""

    def __init__(self) -> None:
        self._apps: Sequence[AppFacts] = ()
        #: By the label of a unit: what its first worker in service has found at the broker.
        self._found: dict[str, InService] = {}
        self._due: float | None = None

    def expect(self, apps: Sequence[AppFacts]) -> None:
        """The apps that have been loaded."""
        self._apps = apps
        self._due = time.monotonic() + IN_SERVICE_TIMEOUT

    def learn(self, message: InService) -> None:
        """What a worker in service has found at its broker."""
        self._found.setdefault(message.app, message)

    def tick(self, processes: int) -> None:
        """Log the banner, if it is time."""
        if self._due is None or (len(self._found) < len(self._apps) and time.monotonic() < self._due):
            return
        self._due = None
        announce(
            BannerFacts(
                version=metadata.version("aiotask"),
                python=platform.python_version(),
                processes=processes,
                result_db=next((app.result_db for app in self._apps if app.rows is None), None),
                apps=[_banner_app(app, self._found.get(app.label, InService(app=app.label))) for app in self._apps],
            )
        )
        for found in self._found.values():
            for warning in found.warnings:
                logger.warning("%s", warning)


def _banner_app(app: AppFacts, found: InService) -> BannerApp:
    return BannerApp(
        name=app.name,
        url=app.url,
        server=found.server or "not connected yet",
        durability=found.durability,
        tasks=app.tasks,
        limits=app.limits,
        schedules=app.schedules,
        queues=app.queues,
        order=app.order,
        pending=found.pending,
        rows=app.rows is not None,
        outbox=hide_password(app.database),
        send_to=hide_password(app.send_to),
    )
