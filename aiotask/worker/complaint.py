"""What goes wrong again and again, said once in a while."""

from __future__ import annotations

import logging
import time

__all__ = ["Complaint"]

#: Seconds within which the same trouble is said once.
_SAID_ONCE = 60.0
#: And between two different ones.
_APART = 1.0


class Complaint:
    """Logs an error with its reason; the same reason once a minute, and never more than a line a second.

    Args:
        logger: of the one who complains.
        text: with one ``%s`` for the reason.
    """

    def __init__(self, logger: logging.Logger, text: str) -> None:
        self._logger = logger
        self._text = text
        self._reason = ""
        self._said = -_SAID_ONCE

    def __call__(self, error: Exception) -> None:
        now, reason = time.monotonic(), str(error)
        if now - self._said >= (_SAID_ONCE if reason == self._reason else _APART):
            self._reason, self._said = reason, now
            self._logger.error(self._text, reason)
