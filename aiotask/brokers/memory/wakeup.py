"""How coroutines of several loops and threads wake each other inside one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from ...broker import Notice

__all__ = ["Bell", "Ear", "Ears"]


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


class Ears:
    """Listeners by the address at which they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.ears: defaultdict[str, set[Ear]] = defaultdict(set)

    def tell(self, addresses: Iterable[str], notice: Notice) -> None:
        for address in addresses:
            for ear in [ear for ear in self.ears.get(address, ()) if not ear.tell(notice)]:
                self.hang_up(address, ear)

    def hang_up(self, address: str, ear: Ear) -> None:
        """Stop telling a listener."""
        self.ears[address].discard(ear)
        if not self.ears[address]:
            del self.ears[address]
