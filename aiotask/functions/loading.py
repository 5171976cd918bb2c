"""A worker imports its app: what that module may not do meanwhile, and where its import stands."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from ..errors import ConfigError

__all__ = ["importing", "refuse_to_wait", "said_when_slow", "warn_of_send"]

#: Seconds of an import after which the place where it stands is logged.
SLOW = 5.0

logger = logging.getLogger("aiotask.worker")

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _State:
    """The thread that imports an app for a worker; 0: none does."""

    thread = 0
    #: Places that were warned of.
    warned: set[str] = set()  # noqa: RUF012 - of the process


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A worker imports its app in this thread while the block lasts."""
    before, _State.thread = _State.thread, threading.get_ident()
    try:
        yield
    finally:
        _State.thread = before


def refuse_to_wait(call: str) -> None:
    """Raise ConfigError where a worker imports the module that waits: the worker itself would have to run the job."""
    if _State.thread and _State.thread == threading.get_ident():
        raise ConfigError(
            f"{_place(sys._getframe(1))}: the module waits for a job ({call}) while a worker imports it, but no job "
            'runs before the import has ended. Put this code under `if __name__ == "__main__":`, or into a function.'
        )


def warn_of_send() -> None:
    """Log a warning, once per place, where a worker imports the module that sends."""
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
def said_when_slow(names: str) -> Iterator[None]:
    """Log where the import in this thread stands if it takes long, and again after ever longer times."""
    over, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        taken, pause = 0.0, SLOW
        while not over.wait(pause):
            taken, pause = taken + pause, min(2 * pause, 60.0)
            frame = sys._current_frames().get(thread)
            if frame is not None:
                logger.warning("Importing %s has taken %.0f s so far. It is at %s.", names, taken, _stack(frame))

    threading.Thread(target=watch, name="aiotask-import", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _users(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames that are neither of aiotask nor of the import system, innermost first."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, "<frozen importlib")) and f"{os.sep}importlib{os.sep}" not in file:
            yield frame
        frame = frame.f_back


def _place(frame: FrameType | None) -> str:
    """Where the module that is being imported stands, as ``file:line``."""
    frames = list(_users(frame))
    module = next((each for each in frames if each.f_code.co_name == "<module>"), None) or frames[0]
    return f"{module.f_code.co_filename}:{module.f_lineno}"


def _stack(frame: FrameType) -> str:
    """The innermost place, and the module's line that led there."""
    frames = list(_users(frame)) or [frame]
    inner = frames[0]
    text = f"{inner.f_code.co_filename}:{inner.f_lineno} in {inner.f_code.co_name}"
    return text if inner.f_code.co_name == "<module>" else f"{text}, called from {_place(frame)}"
