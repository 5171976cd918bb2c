"""What `ps` and `pgrep -f` show of a process: its part, in place of one command line that all forks share."""

from __future__ import annotations

import os
import sys
from functools import cache

__all__ = ["set_title"]

#: Fields of /proc/self/stat, counted behind the name: where the arguments begin and end.
_START, _END = 45, 46


def set_title(text: str) -> None:
    """Show this text as the command line of this process, cut off where the old one ended. Linux; elsewhere nothing.

    The memory of the arguments is overwritten, in this process alone. A last byte that is not NUL tells the kernel to
    show what stands before the first NUL.
    """
    area = _arguments_area()
    if area is None:
        return
    start, size = area
    title = text.encode()[: size - 2]
    try:
        # Not by its address: where that is wrong this is an error, and no crash.
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.pwrite(fd, title + b"\0" + b" " * (size - len(title) - 1), start)
    except OSError:
        pass
    finally:
        os.close(fd)


@cache
def _arguments_area() -> tuple[int, int] | None:
    """Address and size of the arguments, the same in all forks; None where that is not known for certain."""
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
        with open("/proc/self/cmdline", "rb") as file:
            shown = file.read()
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            there = os.pread(memory.fileno(), max(0, end - start), start)
    except (OSError, ValueError, IndexError, OverflowError):
        return None
    return (start, end - start) if len(there) > 2 and there == shown else None
