"""Where log lines go: a file descriptor of our own that can neither block nor break the writing process.

The reader of a log may stop reading (a paused terminal, a log shipper that hangs) or go away. Lines are then kept up
to a limit and dropped beyond it; the number of dropped lines is written once the reader is back.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from threading import Lock

__all__ = ["Sink"]

#: Bytes that a pipe with room takes in one piece, even while other processes write.
PIECE = select.PIPE_BUF
#: Bytes that are kept while the reader does not read.
KEPT = 1 << 20
#: Bytes kept above which a thread that may wait lets the reader catch up, and the seconds after which a reader that
#: takes nothing counts as stopped.
FULL = KEPT // 4
READER_TIMEOUT = 0.2
#: Seconds after which a lock counts as left behind by an exception of a signal handler.
LOCK_TIMEOUT = 5.0


class Sink:
    """A file descriptor for whole lines, shared by a process and its forks; any thread and signal handler may write.

    ``O_NONBLOCK`` is never set on the open file, which the shell, the terminal and user code share. A pipe or a
    terminal is opened a second time instead. Where that is not possible each write is preceded by ``poll``.

    Args:
        fd: the file descriptor, usually 2. It is duplicated here and may be closed or replaced afterwards.
        note: makes the line that says how many lines were dropped.
    """

    def __init__(self, fd: int, note: Callable[[int], str]) -> None:
        self._note = note
        self._socket: socket.socket | None = None
        self._polls = False
        self._fd = self._open(fd)
        self._identity = _identity(self._fd)
        #: File descriptor that gets the lines for a while instead; -1: none.
        self._other = -1
        #: Whether threads without an event loop may wait for a slow reader.
        self.may_wait = False
        self._start()
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        # The parent writes the lines that wait in it, so a fork begins without lines.
        self._lock = Lock()
        self._locked = 0.0
        #: Lines of all threads, in order.
        self._come: deque[bytes] = deque()
        #: Lines that are being written, the first perhaps in part, each with the dropped lines that it reports; and
        #: their bytes.
        self._lines: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._dropped = 0
        self._stopped = False

    def _open(self, fd: int) -> int:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            with contextlib.suppress(OSError):
                self._socket = socket.socket(fileno=os.dup(fd))
                return self._socket.fileno()
        if sys.platform == "linux" and (stat.S_ISFIFO(mode) or os.isatty(fd)):
            with contextlib.suppress(OSError):
                return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        # A regular file takes every line at once.
        self._polls = not stat.S_ISREG(mode)
        return os.dup(fd)

    # ---- writing

    def write(self, text: str) -> None:
        """Write a line now, or keep it while the reader does not read; raises nothing.

        Args:
            text: without the line break at its end.
        """
        self._come.append(text.encode("utf-8", "backslashreplace") + b"\n")
        self.flush()
        if self._size > FULL and self.may_wait and not self._stopped and not _in_loop():
            self._wait_for_room()

    def flush(self) -> None:
        """Write as many lines as the reader takes at once; raises nothing."""
        # The thread that has the lock writes the lines of all threads, so no thread waits for the lock.
        while self._come or self._lines:
            lock = self._lock
            if not lock.acquire(blocking=False):
                if time.monotonic() - self._locked > LOCK_TIMEOUT:
                    self._lock = Lock()
                return
            try:
                self._locked = time.monotonic()
                if not self._turn():
                    return
            finally:
                lock.release()

    def drain(self, seconds: float) -> None:
        """Write the kept lines as far as the reader reads, for at most ``seconds``."""
        deadline = time.monotonic() + seconds
        self.flush()
        while (self._lines or self._come) and time.monotonic() < deadline and self._has_room(READER_TIMEOUT):
            self.flush()

    def divert(self, fd: int) -> None:
        """Write lines to this file descriptor instead; a negative number ends that."""
        self._other = fd

    def write_some(self, data: bytes) -> int:
        """Write bytes of another process; the number written. All bytes are lost if there is no reader any more."""
        if self._lines:
            self.flush()
        if self._lines:
            return 0
        try:
            return self._write(data[:PIECE])
        except OSError:
            return len(data)

    def _turn(self) -> bool:
        """Write until all is written (True) or the reader takes no more (False)."""
        while True:
            if self._dropped and self._size < FULL:
                self._append(self._note(self._dropped).encode("utf-8", "backslashreplace") + b"\n", self._dropped)
                self._dropped = 0
            while self._come:
                line = self._come.popleft()
                if self._dropped or self._size + len(line) > KEPT:
                    self._dropped += 1
                else:
                    self._append(line, 0)
            if not self._lines:
                self._size = 0
                return True
            if not self._write_lines():
                return False

    def _append(self, line: bytes, dropped: int) -> None:
        self._lines.append((line, dropped))
        self._size += len(line)

    def _write_lines(self) -> bool:
        """Write whole lines, as one piece where they are small; False: the reader takes no more."""
        lines = self._lines
        data = lines[0][0]
        for line, _ in islice(lines, 1, None):
            if len(data) + len(line) > PIECE:
                break
            data += line
        try:
            written = self._write(data)
        except OSError:
            # There is no reader any more, or the disk is full. That may change, so the next line is written as usual.
            self._dropped += sum(dropped or 1 for _, dropped in lines)
            lines.clear()
            self._size = 0
            return False
        if not written:
            return False
        self._stopped = False
        self._size -= written
        while lines and written >= len(lines[0][0]):
            written -= len(lines.popleft()[0])
        if written:
            line, dropped = lines[0]
            lines[0] = line[written:], dropped
        return True

    def _write(self, data: bytes) -> int:
        """Write bytes; the number written, 0 if the reader takes none now."""
        if self._other >= 0:
            return os.write(self._other, data)
        if _identity(self._fd) != self._identity:
            self._open_again()
        if self._polls and not self._has_room(0.0):
            return 0
        try:
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
            return os.write(self._fd, data[:PIECE] if self._polls else data)
        except BlockingIOError:
            return 0

    def _open_again(self) -> None:
        """Open the file again after user code has closed the descriptor, whose number may be another file by now."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if _identity(2) != self._identity:
            raise OSError("the log is closed")
        self._fd = self._open(2)

    # ---- waiting

    def _has_room(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        # An error counts as room: the write that follows reports it.
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def _wait_for_room(self) -> None:
        while self._size > FULL and not self._stopped:
            if not self._has_room(READER_TIMEOUT):
                self._stopped = True
                return
            self.flush()


def _identity(fd: int) -> tuple[int, int]:
    try:
        found = os.fstat(fd)
    except OSError:
        return -1, -1
    return found.st_dev, found.st_ino


def _in_loop() -> bool:
    """Whether this thread runs an event loop, which must not wait."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
