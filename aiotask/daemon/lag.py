"""How late the event loop of a process is."""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Lag"]

#: Turns over which the greatest lag is kept: 5 s of heartbeats.
_TURNS = 20


class Lag:
    """Measured by a coroutine that sleeps for an interval, again and again.

    Args:
        interval: seconds of a sleep.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last: float | None = None
        self._recent: deque[float] = deque(maxlen=_TURNS)

    def tick(self) -> float:
        """Call it after each sleep; the greatest lag of late, in seconds."""
        now = time.monotonic()
        if self._last is not None:
            self._recent.append(max(0.0, now - self._last - self._interval))
        self._last = now
        return max(self._recent, default=0.0)
