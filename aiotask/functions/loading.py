"""While a worker imports its app: calls that its modules must not make, and a log line if the import is slow."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from ..errors import ConfigError
from ..loops.delay import DoublingDelay
from ..loops.frames import current_frames

__all__ = ["importing", "log_when_slow", "refuse_to_wait", "warn_of_send"]

#: Seconds of an import after which the line that it has reached is logged.
SLOW = 5.0

logger = logging.getLogger("aiotask.worker")

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _State:
    """Ident of the thread that imports an app for a worker; 0: no thread does."""

    thread = 0
    #: Places (``file:line``) for which a warning was logged.
    warned: set[str] = set()  # noqa: RUF012 - of the process


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A block in which this thread imports an app for a worker."""
    before, _State.thread = _State.thread, threading.get_ident()
    try:
        yield
    finally:
        _State.thread = before


def refuse_to_wait(call: str) -> None:
    """Raise ConfigError if a worker is importing the module that waits: the worker itself would have to run the job."""
    if _State.thread and _State.thread == threading.get_ident():
        raise ConfigError(
            f"{_place(sys._getframe(1))}: the module waits for a job ({call}) while a worker imports it, but no job "
            'runs before the import has ended. Put this code under `if __name__ == "__main__":`, or into a function.'
        )


def warn_of_send() -> None:
    """Log a warning, once per place, if a worker is importing the module that sends."""
    if _State.thread and _State.thread == threading.get_ident():
        place = _place(sys._getframe(1))
        if place not in _State.warned:
            _State.warned.add(place)
            logger.warning(
                "%s: the module sends a job while a worker imports it, so each start of a worker process sends it. Put "
                'this code under `if __name__ == "__main__":`, or into a function.',
                place,
            )


@contextlib.contextmanager
def log_when_slow(names: str) -> Iterator[None]:
    """Log the line that a slow import in this thread has reached, again and again at ever longer intervals."""
    # Neither `threading.Thread` nor `Event`: a module may replace the threads and locks of Python (monkey patching)
    # while it is imported, and gevent fails at that where `threading` knows of a second thread.
    under_way, thread = _thread.allocate_lock(), threading.get_ident()
    under_way.acquire()

    def watch() -> None:
        taken, interval = 0.0, DoublingDelay(SLOW, 60.0)
        while not under_way.acquire(timeout=(pause := interval.next())):
            taken += pause
            frame = current_frames().get(thread)
            if frame is not None:
                logger.warning("Importing %s has taken %.0f s so far. It is at %s.", names, taken, _stack(frame))

    _thread.start_new_thread(watch, ())
    try:
        yield
    finally:
        under_way.release()


def _users(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of user code (neither aiotask nor the import system), innermost first."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, "<frozen importlib")) and f"{os.sep}importlib{os.sep}" not in file:
            yield frame
        frame = frame.f_back


def _place(frame: FrameType | None) -> str:
    """The line of the importing module that is being executed, as ``file:line``."""
    frames = list(_users(frame))
    module = next((each for each in frames if each.f_code.co_name == "<module>"), None) or frames[0]
    return f"{module.f_code.co_filename}:{module.f_lineno}"


def _stack(frame: FrameType) -> str:
    """The innermost line of user code, and the module's line that led there."""
    frames = list(_users(frame)) or [frame]
    inner = frames[0]
    text = f"{inner.f_code.co_filename}:{inner.f_lineno} in {inner.f_code.co_name}"
    return text if inner.f_code.co_name == "<module>" else f"{text}, called from {_place(frame)}"
