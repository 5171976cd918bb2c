"""How coroutines of several loops and threads wake each other inside one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from ...broker import Notice

__all__ = ["Bell", "Listener", "Listeners"]


class Bell:
    """Wakes one coroutine, rung from any thread. Ring it after the state has changed, under the lock of the state."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_ringing = False

    def ring(self) -> bool:
        """Wake the coroutine. False: its loop is closed, so it will never run again."""
        if self._loop.is_closed():
            return False
        if not self._is_ringing:
            self._is_ringing = True  # set first: the loop may clear it before the call below has returned
            with suppress(RuntimeError):  # the loop was closed just now
                self._loop.call_soon_threadsafe(self._event.set)
        return True

    async def rung(self) -> None:
        """Sleep until the bell rings, or return at once if it has rung since the last call."""
        await self._event.wait()
        self._event.clear()
        self._is_ringing = False  # before the caller reads the state, so that no change is missed


class Listener(Bell):
    """One listener of the results channel, with the notices that it has not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._notices: list[Notice] = []

    def notify(self, notice: Notice) -> bool:
        """Add a notice and wake the listener. False: its loop is closed."""
        self._notices.append(notice)
        return self.ring()

    def take(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices


class Listeners:
    """The listeners at each address."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: defaultdict[str, set[Listener]] = defaultdict(set)

    def notify(self, addresses: Iterable[str], notice: Notice) -> None:
        for address in addresses:
            for listener in [listener for listener in self.listeners.get(address, ()) if not listener.notify(notice)]:
                self.remove_listener(address, listener)

    def remove_listener(self, address: str, listener: Listener) -> None:
        """Stop notifying a listener."""
        self.listeners[address].discard(listener)
        if not self.listeners[address]:
            del self.listeners[address]
