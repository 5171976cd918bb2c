"""What a supervisor says when its workers are up."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, TypedDict

from ..log.events import plain

__all__ = ["AppFacts", "Facts", "Greeting", "announce", "banner"]


class AppFacts(TypedDict):
    """What the banner says about one app."""

    name: str
    url: str
    #: Kind and version.
    server: str
    durability: str
    tasks: list[str]
    queues: list[str]
    #: Jobs that waited before this start.
    pending: int


class Facts(TypedDict):
    """What the banner says."""

    version: str
    python: str
    processes: int
    result_db: str | None
    apps: list[AppFacts]


def banner(facts: Facts) -> str:
    """What a supervisor says when its workers are up, as lines of plain text."""
    processes = facts["processes"]
    workers = f"{processes} worker process{'' if processes == 1 else 'es'}"
    lines = [f"aiotask {facts['version']}, Python {facts['python']}, {workers}"]
    for app in facts["apps"]:
        lines += _app_lines(app)
    lines.append(_row("history", facts["result_db"] or "not recorded (to record it: --result-db FILE)"))
    return "\n".join(lines)


def _app_lines(app: AppFacts) -> list[str]:
    durability = f" ({app['durability']})" if app["durability"] else ""
    tasks = app["tasks"]
    shown = ", ".join(tasks[:8]) + (", …" if len(tasks) > 8 else "")
    rows = [
        _row("app", app["name"]),
        _row("broker", f"{app['server']} at {app['url']}{durability}"),
        _row("queues", ", ".join(app["queues"])),
        _row("tasks", f"{len(tasks):,}: {shown}" if tasks else "none (has the module with the tasks been imported?)"),
    ]
    if app["pending"]:
        rows.append(_row("waiting", f"{app['pending']:,} job{'' if app['pending'] == 1 else 's'} from before"))
    return rows


def _row(label: str, text: str) -> str:
    return f"  {label:<8} {plain(text, 600)}"


def announce(facts: Facts) -> None:
    """Log the banner: as it is for people, as one object in a JSON log."""
    logging.getLogger("aiotask").info("%s", banner(facts), extra={"facts": {"event": "banner", **facts}})


logger = logging.getLogger("aiotask.supervisor")

#: Seconds that it waits for workers that the broker does not answer.
PATIENCE = 2.0


class Greeting:
    """The banner, said once: when every app has a worker in service, or after a while without."""

    def __init__(self) -> None:
        self._apps: Sequence[dict[str, Any]] = ()
        self._facts: dict[str, dict[str, Any]] = {}
        self._due: float | None = None

    def expect(self, apps: Sequence[dict[str, Any]]) -> None:
        """The apps that have been loaded."""
        self._apps = apps
        self._due = time.monotonic() + PATIENCE

    def learn(self, facts: dict[str, Any]) -> None:
        """What a worker in service has found at its broker."""
        self._facts.setdefault(facts["up"], facts)

    def say(self, processes: int) -> None:
        """If it is time."""
        if self._due is None or (len(self._facts) < len(self._apps) and time.monotonic() < self._due):
            return
        self._due = None
        announce(
            {
                "version": metadata.version("aiotask"),
                "python": platform.python_version(),
                "processes": processes,
                "result_db": self._apps[0]["result_db"],
                "apps": [
                    {
                        "name": app["name"],
                        "url": app["url"],
                        "server": self._facts.get(app["name"], {}).get("server") or "not reachable yet",
                        "durability": self._facts.get(app["name"], {}).get("durability", ""),
                        "tasks": app["tasks"],
                        "queues": app["queues"],
                        "pending": self._facts.get(app["name"], {}).get("pending", 0),
                    }
                    for app in self._apps
                ],
            }
        )
        for facts in self._facts.values():
            for warning in facts["warnings"]:
                logger.warning("%s", warning)
