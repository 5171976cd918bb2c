"""``sys.stdout`` and ``sys.stderr`` of worker processes: what a job prints is seen at once and breaks no job."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from typing import Any, TextIO

__all__ = ["fill_standard", "open_streams"]

#: Seconds for which a job that prints waits for a reader that has stopped, once until the reader reads again.
READER_TIMEOUT = 1.0


class _Outlet(io.FileIO):
    """A pipe, socket or terminal. Output that no process reads is dropped: a job that prints must neither fail
    because of a closed pipe, nor wait for a reader that has stopped."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self._stopped = False

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self._takes_more():
            try:
                # As many bytes as `poll` promises room for. None: other writers took the room.
                rest = rest[super().write(rest[: select.PIPE_BUF]) or 0 :]
            except (BrokenPipeError, ConnectionResetError):
                break
        return size

    def _takes_more(self) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        if poll.poll(0) or (not self._stopped and poll.poll(READER_TIMEOUT * 1000)):
            self._stopped = False
            return True
        self._stopped = True
        return False


def open_streams() -> None:
    """Write line by line, even if stdout is not a terminal, and drop output that no process reads."""
    sys.stdout, sys.stderr = _opened(sys.stdout, 1), _opened(sys.stderr, 2)


def _opened(stream: TextIO, fd: int) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or isinstance(_raw(stream), _Outlet):
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    with contextlib.suppress(OSError, ValueError):
        if stream.fileno() == fd and not stat.S_ISREG(os.fstat(fd).st_mode):
            return _over(_Outlet(fd), stream)
        stream.reconfigure(line_buffering=True)
    return stream


def _raw(stream: io.TextIOWrapper) -> object:
    return getattr(stream.buffer, "raw", stream.buffer)


def _over(raw: _Outlet, stream: io.TextIOWrapper) -> TextIO:
    raw.name = stream.name
    # Python without buffers (-u) has none between the text and the file.
    buffer: Any = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=True, write_through=stream.write_through
    )


def fill_standard() -> None:
    """Open ``/dev/null`` for each of stdin, stdout and stderr whose file descriptor a job has closed.

    The next file or connection would get the number, and whatever writes to stderr would write into it. Programs that
    are started with pipes of such numbers never end, either: uvloop mixes them up.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
                if null != fd:
                    # Another thread has taken the number meanwhile, or a lower one was free.
                    os.close(null)
