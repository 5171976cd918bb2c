"""What a machine that loses power does to an append-only file: the end that was not on the disk yet is gone.

A SIGKILL alone does not show that: what the server has handed to the kernel survives it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

from ...server import PrivateServer

__all__ = ["AppendOnlyTail"]

#: Seconds between two looks at the size of the file, and for which they are remembered.
_LOOK, _REMEMBERED = 0.01, 5.0


class AppendOnlyTail:
    """Remembers how long the append-only file was at each moment, so that it can be cut back to one."""

    def __init__(self, server: PrivateServer) -> None:
        self._folder = server.directory / "appendonlydir"
        self._seen: deque[tuple[float, Path, int]] = deque()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="append-only tail", daemon=True)
        self._thread.start()

    def _file(self) -> Path | None:
        """The one that is written now: the increment with the highest number."""
        files = list(self._folder.glob("*.incr.aof"))
        return max(files, key=lambda path: int(path.name.split(".")[-3]), default=None)

    def _watch(self) -> None:
        while not self._end.wait(_LOOK):
            now, path = time.monotonic(), self._file()
            if path is not None:
                try:
                    self._seen.append((now, path, path.stat().st_size))
                except FileNotFoundError:
                    continue
            while self._seen and self._seen[0][0] < now - _REMEMBERED:
                self._seen.popleft()

    def cut(self, died: float, seconds: float) -> int:
        """Take away what was written in the last so many seconds before the (dead) server died; how many bytes."""
        path = self._file()
        then = [size for at, file, size in list(self._seen) if file == path and at <= died - seconds]
        if path is None or not then:
            # It was begun meanwhile: a rewrite puts what is in it on the disk first.
            return 0
        gone = path.stat().st_size - then[-1]
        os.truncate(path, then[-1])
        return gone

    def close(self) -> None:
        self._end.set()
        self._thread.join(timeout=5)
