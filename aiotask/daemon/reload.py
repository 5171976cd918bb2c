"""For development: a process that watches source files and asks the supervisor for fresh workers."""

from __future__ import annotations

import importlib.util
import os
import signal

from ..errors import ConfigError
from .fork import fork

__all__ = ["start_watching"]

#: Milliseconds between two checks whether the supervisor lives, where no file changes.
PARENT_CHECK_INTERVAL = 2000


def start_watching(folder: str) -> int:
    """Fork a process that watches this folder; its pid.

    Raises:
        ConfigError: watchfiles is not installed.
    """
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigError("--reload needs watchfiles: pip install 'aiotask[reload]'.")
    supervisor = os.getpid()
    return fork(lambda: _watch(folder, supervisor), dies_with_parent=True)


def _watch(folder: str, supervisor: int) -> int:
    """Send HUP to the supervisor whenever a Python file below the folder changes, as long as it lives."""
    from watchfiles import PythonFilter
    from watchfiles import watch as changes

    for changed in changes(
        folder or os.getcwd(), watch_filter=PythonFilter(), rust_timeout=PARENT_CHECK_INTERVAL, yield_on_timeout=True
    ):
        if os.getppid() != supervisor:
            break
        if changed:
            os.kill(supervisor, signal.SIGHUP)
    return 0
