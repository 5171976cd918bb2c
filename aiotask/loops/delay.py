"""Delays between attempts that double."""

from __future__ import annotations

import asyncio
import random

__all__ = ["BrokerDelay", "DoublingDelay"]


class DoublingDelay:
    """The delay before another attempt, twice as long after each one, until an attempt succeeds.

    Args:
        first: seconds before the second attempt.
        longest: seconds that a delay never exceeds.

    Attributes:
        seconds: the delay after the next failure.
        failures: number of failed attempts since the last success. Where each call counts, check it before ``reset``.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = self.seconds = min(first, longest)
        self._longest = longest
        self.failures = 0

    def next(self) -> float:
        """An attempt has failed: the seconds to wait before the next one."""
        delay = self.seconds
        self.seconds = min(2 * delay, self._longest)
        self.failures += 1
        return delay

    def reset(self) -> None:
        """An attempt has succeeded: the next delay is the first one again."""
        self.seconds = self._first
        self.failures = 0

    async def wait(self) -> None:
        """An attempt has failed: wait before the next one, for half of the delay up to all of it.

        The time is random, so that processes that lost the same server do not all return to it at the same moment.
        """
        await asyncio.sleep(self.next() * random.uniform(0.5, 1.0))


class BrokerDelay(DoublingDelay):
    """The delay between attempts to reach a broker; so short that a broker that is back is found within a second."""

    def __init__(self) -> None:
        super().__init__(0.05, 0.8)
