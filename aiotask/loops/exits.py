"""The ends of a program: at interpreter exit, of a forked child, and of a child of multiprocessing.

Imported with aiotask itself, so that its exit handler runs after those that are registered later.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - needed later, and refuses to load once the main thread has ended
import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import AiotaskError

__all__ = ["Exits", "apart", "exits"]

T = TypeVar("T")

#: Seconds for what the first send needs: imports, and the start of the embedded server.
_PATIENCE = 60.0


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


def apart(work: Callable[[], T]) -> T:
    """Import and make what the first send needs, where no other send can come between.

    A signal handler that sends would find half-loaded modules if the main thread were loading them; so the main thread
    leaves that to another one, and the handler, which interrupts the wait, waits for it too. A finalizer could come
    in any thread, so no garbage is collected meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        return _uncollected(work)
    done: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            done.append(_uncollected(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="aiotask-first-send", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The program ends.
        return _uncollected(work)
    thread.join(_PATIENCE)
    if errors:
        raise errors[0]
    if not done:
        raise AiotaskError(
            f"Preparing the first send has taken {_PATIENCE:g} s. If this is in a signal handler, send a job before "
            "the signal arrives."
        )
    return done[0]


def _uncollected(work: Callable[[], T]) -> T:
    was = gc.isenabled()
    gc.disable()
    try:
        return work()
    finally:
        if was:
            gc.enable()


def _nothing() -> None:
    """Stands for what is not loaded."""


exits = Exits()
exits.watch_multiprocessing()
atexit.register(exits.end)
os.register_at_fork(after_in_child=exits.forked)
