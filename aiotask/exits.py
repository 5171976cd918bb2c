"""The ends of a program: at interpreter exit, of a forked child, and of a child of multiprocessing.

Imported with aiotask itself, so that its exit handler runs after those that are registered later.
"""

from __future__ import annotations

import atexit

# redis and asyncio's resolver need it at their first use, and it refuses to be imported once the main thread has ended.
import concurrent.futures.thread  # noqa: F401
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Exits", "exits", "uncollected"]


class Exits:
    """What has to be done when this process ends, and in a process that is forked from it."""

    def __init__(self) -> None:
        #: The last words are said, or no thread can start any more: from now on a send goes out at once.
        self.ended = False
        self._at_end: Callable[[], None] = _nothing
        self._in_child: Callable[[], None] = _nothing
        #: Where the ends of multiprocessing's children were heard of, so that each process asks once.
        self._asked: set[int] = set()

    def set(self, at_end: Callable[[], None], in_child: Callable[[], None]) -> None:
        """Have these called at the end, and in a forked child; once per process, by the sending side."""
        self._at_end, self._in_child = at_end, in_child
        self.watch_multiprocessing()

    def end(self) -> None:
        """Say the last words. Twice is fine."""
        self.ended = True
        self._at_end()

    def forked(self) -> None:
        """This process is a new child."""
        self.ended = False
        self._in_child()
        self.watch_multiprocessing()

    def watch_multiprocessing(self) -> None:
        """Be told of the end of a child of multiprocessing: it ends by ``os._exit``, without exit handlers."""
        util: Any = sys.modules.get("multiprocessing.util")
        if util is None or os.getpid() in self._asked:
            return
        self._asked.add(os.getpid())
        # A child first clears what it has inherited, and then calls these.
        util.register_after_fork(self, Exits._finalize)
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            self._finalize()

    def _finalize(self) -> None:
        # The lowest priority: other finalizers may send.
        sys.modules["multiprocessing.util"].Finalize(None, self.end, exitpriority=-1_000)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected while the block lasts: a finalizer that sends would meet half-loaded modules."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _nothing() -> None:
    """Stands for what is not loaded."""


exits = Exits()
atexit.register(exits.end)
os.register_at_fork(after_in_child=exits.forked)
