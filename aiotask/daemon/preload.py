"""What is imported before the fork, so that all processes share its memory."""

from __future__ import annotations

import logging
import threading
from importlib import import_module

from ..app import App
from ..brokers.redis.script import compose_scripts
from ..errors import AiotaskError, ConfigError
from ..importer import load_apps
from ..worker.budget import resident
from ..worker.patched import refuse_patched_threads
from .settings import WorkerSettings

__all__ = ["check_memory_limit", "import_library", "preload_apps"]

logger = logging.getLogger("aiotask.supervisor")


#: What supervisor, keeper and workers import when they first need it.
_LATER = (
    *("aiotask.brokers.redis.repair", "aiotask.brokers.redis.blocking", "aiotask.brokers.redis.history"),
    *(
        "aiotask.brokers.redis.inspector",
        "aiotask.embedded.server",
        "aiotask.history.recorder",
        "aiotask.history.resultdb",
    ),
    # Apps come to need these as they are loaded, and tasks that send jobs, or send or return graphs.
    *("aiotask.tasks.stream", "aiotask.parts.schedules", "aiotask.client.bulk"),
    *("aiotask.client.client", "aiotask.client.graphs", "aiotask.client.planning"),
    *("aiotask.results.graph", "aiotask.results.group"),
    *("aiotask.workflow.chain", "aiotask.workflow.outgoing", "aiotask.client.schedules"),
    *("cloudpickle", "concurrent.futures.thread", "difflib", "encodings.idna", "sqlite3", "sysconfig", "traceback"),
    "uvloop",
)


def import_library() -> None:
    """All code and all scripts of the library that a worker comes to need, and the front door does not load.

    Whatever were read later could be that of another release, installed over this one, or be gone.
    """
    for name in _LATER:
        import_module(name)
    compose_scripts()


def check_memory_limit(limit: int | None) -> None:
    """Refuse a limit that no worker process could keep, since it is a fork of this one.

    Raises:
        ConfigError: ``limit`` (bytes) is less than this process holds.
    """
    if limit is not None and limit <= (held := resident()):
        raise ConfigError(
            f"--max-memory-per-child {limit:,} (bytes) is less than a worker process takes before it loads an app "
            f"({held / 1e6:.0f} MB). Leave room for the app and its jobs, as in --max-memory-per-child 512MB."
        )


def preload_apps(settings: WorkerSettings) -> list[App] | None:
    """For ``--preload``; None when that is not possible, which is said."""
    try:
        apps = load_apps(settings.apps, settings.app_dir)
        refuse_patched_threads()
    except AiotaskError as error:
        logger.error("The app could not be loaded. %s", error, extra={"facts": {"event": "not_started"}})
        return None
    if lost := [thread.name for thread in threading.enumerate() if _is_lost(thread)]:
        logger.error(
            f"The app started a thread while it was imported ({', '.join(lost[:5])}), and threads do not survive a "
            "fork. "
            "Leave out --preload, or start the thread later.",
            extra={"facts": {"event": "not_started"}},
        )
        return None
    return apps


def _is_lost(thread: threading.Thread) -> bool:
    """Whether a fork loses what this thread does."""
    # The SDK of OpenTelemetry starts its threads again in each process that is forked.
    target = getattr(thread, "_target", None)
    return thread is not threading.current_thread() and not str(getattr(target, "__module__", "")).startswith(
        "opentelemetry.sdk."
    )
