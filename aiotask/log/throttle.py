"""Rate limits for events that repeat: each is logged or done once per interval."""

from __future__ import annotations

import logging
import math
import time

__all__ = ["KEEPER_LOG_DELAY", "ErrorReporter", "Throttle"]

#: Seconds for which an error has to last before a keeper logs it; the workers log it at once.
KEEPER_LOG_DELAY = 20.0

#: Seconds within which errors with the same reason are logged once.
_SAME_INTERVAL = 60.0
#: Seconds between the log lines of errors with different reasons.
_OTHER_INTERVAL = 1.0
#: Seconds without an error after which its cause counts as gone.
_OVER_AFTER = 5.0


class Throttle:
    """Lets one event pass per interval, and counts those that do not.

    Args:
        interval: seconds between two events that pass.
        after: seconds from now on in which no event passes.
    """

    def __init__(self, interval: float, after: float = 0.0) -> None:
        self._interval = interval
        self._until = time.monotonic() + after if after else -math.inf
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether an event would pass now."""
        return time.monotonic() >= self._until

    def passes(self, count: int = 1) -> int:
        """Count events, and say whether they pass.

        Returns:
            The number of events since the last ones that passed, these included; 0: these do not pass.
        """
        self._count += count
        if not self.is_open:
            return 0
        passed, self._count = self._count, 0
        self._until = time.monotonic() + self._interval
        return passed

    def reset(self) -> None:
        """Let the next event pass."""
        self._until = -math.inf


class ErrorReporter:
    """Logs an error with its reason: the same reason once a minute, at most one line per second in all.

    Args:
        logger: of the caller.
        text: the log line, with one ``%s`` for the reason.
        after: seconds for which the errors have to last before one is logged; 0: the first is logged.
    """

    def __init__(self, logger: logging.Logger, text: str, after: float = 0.0) -> None:
        self._logger = logger
        self._text = text
        self._after = after
        self._began = self._last = 0.0
        self._reason = ""
        self._logged_at = -_SAME_INTERVAL

    def __call__(self, error: Exception) -> None:
        now, reason = time.monotonic(), str(error)
        if now - self._last > _OVER_AFTER:
            self._began = now
        self._last = now
        if now - self._began < self._after:
            return
        if now - self._logged_at >= (_SAME_INTERVAL if reason == self._reason else _OTHER_INTERVAL):
            self._reason, self._logged_at = reason, now
            self._logger.error(self._text, reason)
