"""Replacements of worker processes: each new one in service before the old one is asked to go."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection

from ..log.events import in_words
from ..log.throttle import Throttle
from .child import Child
from .release import Release
from .restarts import RestartDelay
from .settings import WorkerSettings

__all__ = ["Replacements"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds of service within which a process that has grown past its limit did so early, and the longest delay after.
EARLY, LONGEST = 10.0, 300.0
#: Seconds between two warnings about such processes.
WARNING_INTERVAL = 300.0


class Replacements:
    """Replacements that an operator asks for, and those of workers that have run or grown enough.

    Args:
        spawn: starts a process that is to replace one, if a board is free.
        begun: called when all workers are going to be replaced.
    """

    def __init__(self, settings: WorkerSettings, spawn: Callable[[Child], None], begun: Callable[[], None]) -> None:
        self._limit = settings.max_memory_per_child or 0
        self._code = " (with the same code, since the app was preloaded)" if settings.preload else ""
        #: Of the code that new processes load.
        self.release = Release()
        self._spawn = spawn
        self._begun = begun
        self._rolling: deque[Child] = deque()
        # A process that has grown at once has a successor that will, too: without a delay they would only be replaced.
        self._growth = RestartDelay(LONGEST, EARLY)
        self._warnings = Throttle(WARNING_INTERVAL)

    # ---- an operator's

    def begin(self, children: Collection[Child]) -> None:
        """Replace all workers, one by one, with the code that is there now."""
        logger.info("Replacing the worker processes one by one%s.", self._code)
        self.release = Release()
        self._rolling = deque(child for child in children if not child.draining)
        self._warnings.reset()
        self._begun()

    def give_up(self) -> None:
        """Leave the workers in service that have not been replaced."""
        self._rolling.clear()

    @property
    def are_due(self) -> bool:
        """Whether an operator's replacements have not all begun."""
        return bool(self._rolling)

    # ---- all replacements

    def tick(self, children: Collection[Child], *, may_start: bool) -> None:
        """Go on with the replacements.

        Args:
            may_start: processes do not die early just now.
        """
        newcomers = [child for child in children if child.replaces is not None]
        for child in newcomers:
            if child.is_up:
                assert child.replaces is not None
                child.replaces.drain()
                child.replaces = None
        if not may_start:
            return
        replaced = [child.replaces for child in newcomers]
        for child in children:
            if child.wants_replacement and not child.draining and child not in replaced:
                self._replace_full(child)
        while self._rolling and not newcomers:
            old = self._rolling[0]
            if old in children and not old.draining:
                # It stays the first one until it is asked to go: there may be no board for its successor yet.
                self._spawn(old)
                return
            self._rolling.popleft()

    def _replace_full(self, child: Child) -> None:
        if child.size and not self._growth.is_over:
            return
        self._spawn(child)
        if child.size:
            served = time.monotonic() - child.since
            self._growth.died(child.since)
            if served < EARLY:
                self._warn(
                    f"{child.title} had run for {in_words(served)} when it grew past "
                    f"--max-memory-per-child ({_size(self._limit)}): the app alone takes {_size(child.size_at_first)}. "
                    "Raise the limit; until then processes are replaced less and less often."
                )

    def oversize(self, child: Child, size: int) -> None:
        """A process was past its memory limit before its first job, as every other one will be."""
        self._warn(
            f"The app alone takes {_size(size)}, which is more than --max-memory-per-child ({_size(self._limit)}): "
            f"{child.title} is kept running whatever its size. Raise the limit."
        )

    def _warn(self, text: str) -> None:
        if self._warnings.passes():
            logger.warning("%s", text)


def _size(number: int) -> str:
    return f"{number / 1e6:,.0f} MB"
