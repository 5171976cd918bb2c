"""What a worker process writes to stderr while it runs a suspect: passed on, and the last lines kept.

For that time alone its file descriptor 2 is a file without a name, so the words of C code are there too. A file
takes everything at once, outlives the process, and has no reader that could block or break it.
A worker that runs no suspect has the stderr that it was started with.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ...log.setup import pass_on
from .memory_file import memory_file

__all__ = ["LastWords"]

#: Bytes and lines that are kept of the end.
_KEPT = 2048
_LINES = 20
#: Bytes beyond which the file is emptied once they have been passed on.
_MUCH = 1 << 20
#: What a pipe that has room takes at once.
_PIECE = 4096


class LastWords:
    """Made before the fork; the child writes, the parent reads."""

    def __init__(self) -> None:
        self._file = memory_file("stderr")
        self.fd = self._file.fileno()
        self._before = -1
        self._passed = 0
        self._dropped = b""

    # ---- the child's side

    def begin(self) -> None:
        """Write stderr into this file from now on."""
        if self._before < 0:
            _flush()
            try:
                self._before = os.dup(2)
            except OSError:
                # A job has closed stderr.
                self._before = os.open(os.devnull, os.O_WRONLY)
            os.dup2(self.fd, 2)

    def end(self) -> None:
        """Give stderr back to where the process was started with it."""
        if self._before >= 0:
            _flush()
            os.dup2(self._before, 2)
            os.close(self._before)
            self._before = -1

    # ---- the parent's side

    def pass_on(self) -> None:
        """Write to this process's own stderr what has come, as far as that does not wait."""
        size = os.fstat(self.fd).st_size
        while self._passed < size and (written := pass_on(os.pread(self.fd, _PIECE, self._passed))):
            self._passed += written
        if size > _MUCH and self._passed >= size:
            self._dropped = self._end_of_it()
            os.ftruncate(self.fd, 0)
            self._passed = 0

    def take(self) -> str:
        """The last lines, once the process is dead."""
        self.pass_on()
        lines = self._end_of_it().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LINES:]).strip()

    def close(self) -> None:
        self._file.close()

    def _end_of_it(self) -> bytes:
        size = os.fstat(self.fd).st_size
        return (self._dropped + os.pread(self.fd, _KEPT, max(0, size - _KEPT)))[-_KEPT:]


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
