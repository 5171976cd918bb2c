"""Callers that wait, in any event loop, until their jobs are with the broker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["Watchers", "wake"]

_Watcher = tuple[int, int, "asyncio.Future[None]"]


class Watchers:
    """Futures of callers, by the ticket of the job that they wait for.

    Args:
        is_settled: whether the job with a ticket is with the broker, or was refused.
    """

    def __init__(self, is_settled: Callable[[int], bool]) -> None:
        self._is_settled = is_settled
        #: A heap of (ticket, number, future); the number keeps futures from being compared.
        self._all: list[_Watcher] = []
        #: Watchers whose job waits for room in its queue.
        self._for_room: list[_Watcher] = []
        self._numbers = itertools.count()

    async def settled(self, ticket: int) -> None:
        """Return once the job with this ticket is settled."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._all, (ticket, next(self._numbers), future))
        if self._is_settled(ticket):
            # Another thread settled the job, perhaps before this future was in the heap.
            _release(future)
        await future

    def notify(self, settled: int) -> bool:
        """Wake the futures of settled tickets up to this one; return whether there was one."""
        notified = False
        if self._for_room:
            for_room, self._for_room = self._for_room, []
            for watcher in for_room:
                heappush(self._all, watcher)
        while self._all and self._all[0][0] <= settled:
            watcher = heappop(self._all)
            if not self._is_settled(watcher[0]):
                self._for_room.append(watcher)
                continue
            wake(watcher[2])
            notified = True
        return notified


def wake(future: asyncio.Future[None]) -> None:
    """Set the result of a future of any loop, from any thread."""
    loop = future.get_loop()
    if loop is asyncio._get_running_loop():
        _release(future)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_release, future)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
