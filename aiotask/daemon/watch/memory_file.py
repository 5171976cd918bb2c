"""A file without a name that a child writes and its parent reads."""

from __future__ import annotations

import fcntl
import os
import tempfile
from io import FileIO

__all__ = ["memory_file"]


def memory_file(name: str) -> FileIO:
    """Make one; whatever is written goes to its end, since both processes share one position in it.

    Linux keeps it in memory, so no directory has to be writable; elsewhere it is one of the directory for temporary
    files.

    Args:
        name: as it is shown among the open files of a process.

    Raises:
        OSError: no file could be made.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(f"aiotask-{name}", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            fd = os.dup(file.fileno())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return FileIO(fd, "rb+")
