"""Callers that wait, in any event loop, until their jobs are with the broker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["Watchers", "wake"]

_Watcher = tuple[int, int, "asyncio.Future[None]"]


class Watchers:
    """Futures by the ticket that they wait for.

    Args:
        is_settled: whether the job with a ticket is with the broker, or was refused.
    """

    def __init__(self, is_settled: Callable[[int], bool]) -> None:
        self._is_settled = is_settled
        #: A heap. The number in the middle keeps futures from being compared.
        self._all: list[_Watcher] = []
        #: Those whose job waits for room.
        self._patient: list[_Watcher] = []
        self._numbers = itertools.count()

    async def settled(self, ticket: int) -> None:
        """Return once the job with this ticket is settled."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._all, (ticket, next(self._numbers), future))
        if self._is_settled(ticket):
            # By another thread, which may have looked before this future was there.
            _release(future)
        await future

    def tell(self, settled: int) -> bool:
        """Wake the futures of settled tickets, of which this is the highest; whether there was one."""
        told = False
        if self._patient:
            patient, self._patient = self._patient, []
            for watcher in patient:
                heappush(self._all, watcher)
        while self._all and self._all[0][0] <= settled:
            watcher = heappop(self._all)
            if not self._is_settled(watcher[0]):
                self._patient.append(watcher)
                continue
            wake(watcher[2])
            told = True
        return told


def wake(future: asyncio.Future[None]) -> None:
    """Let a future of any loop have its result, from any thread."""
    loop = future.get_loop()
    if loop is asyncio._get_running_loop():
        _release(future)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_release, future)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
