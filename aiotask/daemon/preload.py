"""What is imported before the fork, so that all processes share its memory."""

from __future__ import annotations

import logging
import sys
import threading
from importlib import import_module

from ..app import App
from ..errors import AiotaskError
from ..importer import load_apps
from ..worker.patched import refuse_patched_threads
from .settings import WorkerSettings

__all__ = ["import_library", "preload_apps"]

logger = logging.getLogger("aiotask.supervisor")


def import_library() -> None:
    """What every worker needs and the front door does not load."""
    import_module("aiotask.brokers.redis.inspector")
    if sys.platform != "win32":
        import_module("uvloop")


def preload_apps(settings: WorkerSettings) -> list[App] | None:
    """For ``--preload``; None when that is not possible, which is said."""
    try:
        apps = load_apps(settings.apps, settings.app_dir)
        refuse_patched_threads()
    except AiotaskError as error:
        logger.error("The app could not be loaded. %s", error, extra={"facts": {"event": "not_started"}})
        return None
    if threading.active_count() > 1:
        logger.error(
            "The app started a thread while it was imported, and threads do not survive a fork. "
            "Leave --preload out, or start it later.",
            extra={"facts": {"event": "not_started"}},
        )
        return None
    return apps
