"""How soon a process follows one that died."""

from __future__ import annotations

import time

from ..loops.delay import DoublingDelay

__all__ = ["RestartAllowance", "RestartDelay"]

#: Seconds of life within which a death is an early one, unless the caller passes others.
PROBATION = 1.0
#: Seconds before the successor of the second process in a row that dies early.
FIRST_DELAY = 0.1


class RestartDelay:
    """When a process follows one that died: at once, or later and later while they die early.

    Args:
        limit: the longest delay in seconds.
        probation: seconds of life within which a death is an early one.
    """

    def __init__(self, limit: float, probation: float = PROBATION) -> None:
        self._probation = probation
        self._delay = DoublingDelay(FIRST_DELAY, limit)
        self._until = 0.0

    def died(self, since: float) -> None:
        """A process that lived since then (monotonic seconds) has died."""
        now = time.monotonic()
        if now - since < self._probation:
            self._until = now + self._delay.next()
        else:
            self._delay.reset()
            self._until = now

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until


class RestartAllowance:
    """How many deaths are followed at once. A job that kills its processes costs three.

    Args:
        some: deaths at first, and at most.
        per_second: deaths that are added each second.
    """

    def __init__(self, some: float, per_second: float) -> None:
        self._some = self._left = some
        self._per_second = per_second
        self._since = time.monotonic()

    def spend(self) -> None:
        """A process has died."""
        self._left = self._now() - 1.0
        self._since = time.monotonic()

    def _now(self) -> float:
        return min(self._some, self._left + self._per_second * (time.monotonic() - self._since))

    @property
    def is_left(self) -> bool:
        return self._now() >= 0.0
