"""What is imported before the fork, so that all processes share its memory."""

from __future__ import annotations

import logging
import sys
import threading
from importlib import import_module

from ..app import App
from ..errors import AiotaskError, ConfigError
from ..importer import load_apps
from ..worker.usage import resident
from .settings import WorkerSettings

__all__ = ["check_memory_limit", "import_library", "preload_apps"]

logger = logging.getLogger("aiotask.supervisor")


def import_library() -> None:
    """What every worker needs and the front door does not load."""
    import_module("aiotask.brokers.redis.inspector")
    if sys.platform != "win32":
        import_module("uvloop")


def check_memory_limit(limit: int | None) -> None:
    """Refuse a limit that no worker process could keep, since it is a fork of this one.

    Raises:
        ConfigError: ``limit`` (bytes) is less than this process holds.
    """
    if limit is not None and limit <= (held := resident()):
        raise ConfigError(
            f"--max-memory-per-child {limit:,} (bytes) is less than a worker process holds before it loads an app "
            f"({held / 1e6:.0f} MB). Leave room for the app and its jobs, as in --max-memory-per-child 512MB."
        )


def preload_apps(settings: WorkerSettings) -> list[App] | None:
    """For ``--preload``; None when that is not possible, which is said."""
    try:
        apps = load_apps(settings.apps, settings.app_dir)
    except AiotaskError as error:
        logger.error("The app could not be loaded. %s", error)
        return None
    if threading.active_count() > 1:
        logger.error(
            "The app started a thread while it was imported, and threads do not survive a fork. "
            "Leave --preload out, or start it later."
        )
        return None
    return apps
