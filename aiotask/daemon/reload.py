"""For development: a process that watches source files and asks the supervisor for fresh workers."""

from __future__ import annotations

import os
import signal

from ..errors import ConfigError

__all__ = ["watch"]


def watch(folder: str, supervisor: int) -> int:
    """Send HUP to the supervisor whenever a Python file below the folder changes.

    Raises:
        ConfigError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter
        from watchfiles import watch as changes
    except ImportError:
        raise ConfigError("--reload needs watchfiles: pip install 'aiotask[reload]'.") from None
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for _ in changes(folder or os.getcwd(), watch_filter=PythonFilter(), raise_interrupt=False):
        os.kill(supervisor, signal.SIGHUP)
    return 0
