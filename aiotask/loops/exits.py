"""The ends of a program: at interpreter exit, of a forked child, and of a child of multiprocessing.

This module is imported with aiotask itself, so that its exit handler runs after those that are registered later.
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

#: Seconds for preparing the first send: imports, and the start of the embedded server.
_PREPARE_TIMEOUT = 60.0


class Exits:
    """The handlers for the end of this process, and for processes that are forked from it."""

    def __init__(self) -> None:
        #: The exit handler has run, or no thread can start any more: each send blocks from now on.
        self.ended = False
        #: This is a daemonic child of multiprocessing, as those of its Pool are: the parent may end it by SIGTERM after
        #: any of its calls, and no handler runs then.
        self.may_be_terminated = False
        self._at_end: Callable[[], None] = _nothing
        self._in_child: Callable[[], None] = _nothing
        #: Ids of the processes that have registered with multiprocessing, so that each does so once.
        self._asked: set[int] = set()

    def set(self, at_end: Callable[[], None], in_child: Callable[[], None]) -> None:
        """Set the handlers for interpreter exit and a forked child; called once per process, by the sending side."""
        self._at_end, self._in_child = at_end, in_child
        self.watch_multiprocessing()

    def end(self) -> None:
        """Run the exit handler. A second call does no harm."""
        self.ended = True
        self._at_end()

    def forked(self) -> None:
        """Run the handler for a forked child, in the child."""
        self.ended = False
        self._in_child()
        self.watch_multiprocessing()

    def watch_multiprocessing(self) -> None:
        """Register with multiprocessing, whose children end by ``os._exit``, without exit handlers."""
        util: Any = sys.modules.get("multiprocessing.util")
        if util is None or os.getpid() in self._asked:
            return
        self._asked.add(os.getpid())
        # A child first clears the finalizers that it has inherited, and then calls the registered functions.
        util.register_after_fork(self, Exits._finalize)
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            self._finalize()

    def look_at_parent(self) -> None:
        """Find out whether a parent may terminate this process. Call it before the first send: a spawned child does not
        know yet while it imports its main module, and calls nothing of ours when it does."""
        if (process := sys.modules.get("multiprocessing.process")) is not None:
            self.may_be_terminated = process.current_process().daemon

    def _finalize(self) -> None:
        self.look_at_parent()
        # With the lowest priority, since other finalizers may send.
        sys.modules["multiprocessing.util"].Finalize(None, self.end, exitpriority=-1_000)


def apart(work: Callable[[], T]) -> T:
    """Import and make what the first send needs, without another send in between.

    A signal handler that sends would find half-loaded modules if the main thread were loading them; so another thread
    loads them, and the handler, which interrupts the main thread's wait, waits for that thread too. A finalizer could
    send in any thread, so no garbage is collected meanwhile.
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
        # No thread can start any more, since the program ends.
        return _uncollected(work)
    thread.join(_PREPARE_TIMEOUT)
    if errors:
        raise errors[0]
    if not done:
        raise AiotaskError(
            f"Preparing the first send has taken {_PREPARE_TIMEOUT:g} s. If this is in a signal handler, send a job "
            "before the signal arrives."
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
    """The handler as long as the sending side is not loaded."""


exits = Exits()
exits.watch_multiprocessing()
atexit.register(exits.end)
os.register_at_fork(after_in_child=exits.forked)
