"""What goes wrong again and again, said once in a while."""

from __future__ import annotations

import logging
import time

__all__ = ["PATIENCE", "Complaint"]

#: Seconds that a keeper waits before it says what its workers have said.
PATIENCE = 20.0

#: Seconds within which the same trouble is said once.
_SAID_ONCE = 60.0
#: And between two different ones.
_APART = 1.0
#: Seconds without an error after which a trouble is over.
_OVER = 5.0


class Complaint:
    """Logs an error with its reason; the same reason once a minute, and never more than a line a second.

    Args:
        logger: of the one who complains.
        text: with one ``%s`` for the reason.
        after: seconds that it has to last before it is said, where others meet most of it too and say it at once.
    """

    def __init__(self, logger: logging.Logger, text: str, after: float = 0.0) -> None:
        self._logger = logger
        self._text = text
        self._after = after
        self._began = self._last = 0.0
        self._reason = ""
        self._said = -_SAID_ONCE

    def __call__(self, error: Exception) -> None:
        now, reason = time.monotonic(), str(error)
        if now - self._last > _OVER:
            self._began = now
        self._last = now
        if now - self._began < self._after:
            return
        if now - self._said >= (_SAID_ONCE if reason == self._reason else _APART):
            self._reason, self._said = reason, now
            self._logger.error(self._text, reason)
