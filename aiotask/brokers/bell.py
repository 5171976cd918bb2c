"""How coroutines of several loops and threads wake each other inside one process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..broker import Notice

__all__ = ["Bell", "Ear"]


class Bell:
    """Wakes one coroutine, from whatever thread it is rung. Ring it after the state has changed, under its lock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_ringing = False

    def ring(self) -> None:
        if self._is_ringing:
            return
        self._is_ringing = True  # first: its loop may answer before the call below has returned
        # Its loop may be closed: nobody sleeps there any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def rung(self) -> None:
        """Sleep until it rings, or return at once if it has rung since the last time."""
        await self._event.wait()
        self._event.clear()
        self._is_ringing = False  # before the caller looks at the state, so that no change goes unnoticed


class Ear(Bell):
    """One listener of the results channel, with what it has not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._notices: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self._notices.append(notice)
        self.ring()

    def take(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices
