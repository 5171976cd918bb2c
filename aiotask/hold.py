"""How jobs wait for room in a queue: tried again later and later, and not without a word."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Collection

from .broker import Push
from .watchers import wake

__all__ = ["Hold"]

#: Seconds between two tries, from the first on and at most.
_FIRST, _LONGEST = 0.01, 0.5
#: Seconds of waiting after which it is said, and after how many more again.
_SAY_AFTER, _SAY_AGAIN = 5.0, 60.0

logger = logging.getLogger("aiotask.client")


class Hold:
    """When the next try is due."""

    def __init__(self) -> None:
        self._delay = _FIRST
        self._at = 0.0
        self._said_at = float("inf")
        self._resting: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._at

    def reset(self) -> None:
        """Some of them found room."""
        self._delay, self._said_at = _FIRST, float("inf")

    def again(self) -> None:
        """There was none."""
        now = time.monotonic()
        if self._said_at == float("inf"):
            self._said_at = now + _SAY_AFTER
        self._at = now + self._delay
        self._delay = min(2 * self._delay, _LONGEST)

    async def rest(self, held: Collection[Push]) -> None:
        """Until the next try is due, or there is something else to send."""
        if time.monotonic() >= self._said_at:
            self._said_at = time.monotonic() + _SAY_AGAIN
            queues = ", ".join(f'"{queue}" ({count:,})' for queue, count in Counter(p.queue for p in held).items())
            logger.warning("Jobs wait for room, since these queues are full (max_pending): %s.", queues)
        self._resting = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._at - time.monotonic())):
                await self._resting

    def stir(self) -> None:
        """There is something else to send."""
        if self._resting is not None and not self._resting.done():
            wake(self._resting)
