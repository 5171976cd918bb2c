"""A delay between attempts that doubles."""

from __future__ import annotations

__all__ = ["DoublingDelay"]


class DoublingDelay:
    """The delay before another attempt, twice as long after each one, until an attempt succeeds.

    Args:
        first: seconds before the second attempt.
        longest: seconds that a delay never exceeds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """An attempt has failed: the seconds to wait before the next one."""
        delay = min(self._next, self._longest)
        self._next = min(2 * delay, self._longest)
        return delay

    def reset(self) -> None:
        """An attempt has succeeded: the next delay is the first one again."""
        self._next = self._first
