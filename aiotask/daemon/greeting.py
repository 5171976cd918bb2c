"""What a supervisor says once its workers are in service."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from ..banner import announce

__all__ = ["Greeting"]

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
