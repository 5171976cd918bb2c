"""Worker processes that are stopped: alive, so that nothing is recovered, and yet no job of them goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterable

from ..log.events import in_words
from ..log.throttle import Throttle
from .child import Child
from .health.process_state import stop_of

__all__ = ["Stops", "resume"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds without a heartbeat after which the supervisor checks whether a process is stopped.
STOP_CHECK_TIMEOUT = 3.0
#: Seconds after which a stopped process that has been asked to end is killed.
DRAINING_LIMIT = 2.0
#: Seconds within which a stopped process is sent CONT once: a second stop is taken as intended.
CONT_INTERVAL = 60.0


class Stops:
    """Notices processes that are stopped, and has them continue or end.

    Args:
        limit: seconds that a process may be stopped before it is killed and its jobs run again; 0: for ever.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: dict[Child, float] = {}
        self._conts: dict[Child, Throttle] = {}

    def tick(self, children: Iterable[Child]) -> None:
        """Look at all workers once."""
        now = time.monotonic()
        children = set(children)
        for gone in self._conts.keys() - children:
            del self._conts[gone]
        for child in children | self._since.keys():
            why = self._why(child, now) if child in children else ""
            if why:
                self._stopped(child, why, now)
            elif (since := self._since.pop(child, None)) and child in children and not child.killed:
                logger.warning("%s is running again after %s.", child.title, in_words(now - since))

    def _why(self, child: Child, now: float) -> str:
        return stop_of(child.pid) if not child.killed and now - child.board.heartbeat > STOP_CHECK_TIMEOUT else ""

    def _stopped(self, child: Child, why: str, now: float) -> None:
        jobs = len(child.board.started())
        since = self._since.get(child)
        if since is None:
            since = self._since[child] = now
            resumed = resume(child.pid, self._conts.setdefault(child, Throttle(CONT_INTERVAL)))
            logger.warning("%s is %s%s.", child.title, why, self._what_next(jobs, resumed=resumed))
        limit = min(self._limit or DRAINING_LIMIT, DRAINING_LIMIT) if child.draining else self._limit
        if limit and now - since > limit:
            logger.error(
                "%s has been %s for %s: it is killed, and %s again.",
                child.title,
                why,
                in_words(now - since),
                "its job runs" if jobs == 1 else "its jobs run",
            )
            child.kill(f"being {why} for {in_words(now - since)}")

    def _what_next(self, jobs: int, *, resumed: bool) -> str:
        waiting = f", and so {'is its job' if jobs == 1 else f'are its {jobs} jobs'}" if jobs else ""
        if resumed:
            return f"{waiting}; the supervisor has sent it CONT, once, so that it continues"
        return f"{waiting}; it is killed after {in_words(self._limit)}" if self._limit else waiting


def resume(pid: int, conts: Throttle) -> bool:
    """Send CONT to a process if a signal has stopped it; whether that was so.

    Args:
        conts: those that this process is sent.
    """
    if not conts.is_open or stop_of(pid) != "stopped by a signal":
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCONT)
        conts.passes()
        return True
    return False
