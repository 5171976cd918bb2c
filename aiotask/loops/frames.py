"""What each thread of this process is doing."""

from __future__ import annotations

import gc
import sys
from types import FrameType

__all__ = ["current_frames"]


def current_frames() -> dict[int, FrameType]:
    """The topmost frame of each thread, by the identifier of the thread.

    Python's own function holds a lock that a new thread needs, too. Before CPython 3.11.9 it may collect garbage under
    that lock, and a finalizer may let other threads run: if one of them starts a thread then, the process stands still
    for ever (https://github.com/python/cpython/issues/106883).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()
