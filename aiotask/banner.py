"""What a supervisor says when its workers are up."""

from __future__ import annotations

import logging
from typing import TypedDict

from .events import plain

__all__ = ["AppFacts", "Facts", "announce", "banner"]


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
