"""The heartbeat of a process whose event loop does not run yet."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from .board import HEARTBEAT_INTERVAL, SharedBoard

__all__ = ["beating"]

#: Seconds that a block may take.
TIMEOUT = 30.0


@contextlib.contextmanager
def beating(board: SharedBoard) -> Iterator[None]:
    """Beat in the block, in a thread: where there are rows, SQLAlchemy is imported, and that takes seconds on a machine
    that is busy."""
    over = threading.Event()
    deadline = time.monotonic() + TIMEOUT

    def beat() -> None:
        while not over.wait(HEARTBEAT_INTERVAL) and time.monotonic() < deadline:
            board.beat()

    threading.Thread(target=beat, name="beat", daemon=True).start()
    try:
        yield
    finally:
        over.set()
