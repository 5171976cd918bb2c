"""The ways in which user code ends its own process."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import NoReturn

__all__ = ["WAYS", "end_process"]

#: How each ends its process, and what is said of that death.
WAYS = {"segfault": "SIGSEGV", "abort": "SIGABRT", "overflow": "SIGSEGV", "kill": "SIGKILL", "17": "exit code 17"}


def end_process(how: str) -> NoReturn:
    """End this process: ``segfault``, ``abort``, ``overflow``, ``kill``, or an exit code."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "overflow":
        _overflow()
    os._exit(int(how))


def _overflow() -> None:
    """Overflow the C stack of the main thread.

    From 3.12 on, Python counts calls through C, too, and raises RecursionError long before 8 MB are full. So the kernel
    is told to let the stack grow no further than a few frames from here: it looks at the limit at each growth.
    """
    sys.setrecursionlimit(10**9)
    resource.setrlimit(resource.RLIMIT_STACK, (64 * 1024, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    def deeper() -> None:
        back()

    back = ctypes.CFUNCTYPE(None)(deeper)
    back()
    # A stack that had grown further before does not overflow, and Python has counted its calls: end as one does.
    os.kill(os.getpid(), signal.SIGSEGV)
