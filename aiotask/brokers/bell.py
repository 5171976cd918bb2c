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

    def ring(self) -> bool:
        """Wake it. False: its loop is closed, nobody sleeps there any more."""
        if self._loop.is_closed():
            return False
        if not self._is_ringing:
            self._is_ringing = True  # first: its loop may answer before the call below has returned
            with suppress(RuntimeError):  # closed just now
                self._loop.call_soon_threadsafe(self._event.set)
        return True

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

    def tell(self, notice: Notice) -> bool:
        """Add a notice and wake it. False: nobody listens there any more."""
        self._notices.append(notice)
        return self.ring()

    def take(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices
