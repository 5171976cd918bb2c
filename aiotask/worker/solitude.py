"""Solitude: one worker of a process has it to itself while it runs a suspect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Solitude"]


class Solitude:
    """Several workers of one process, each for another app, share it as they share the seats.

    All methods are for their loop.
    """

    def __init__(self) -> None:
        self._members: dict[object, Callable[[], Awaitable[None]]] = {}
        self._owner: object = None
        self._free = asyncio.Event()

    def join(self, member: object, make_way: Callable[[], Awaitable[None]]) -> None:
        """``make_way`` gives back what has not started, and returns when nothing of this member runs any more."""
        self._members[member] = make_way

    @property
    def is_shared(self) -> bool:
        return len(self._members) > 1

    def excludes(self, member: object) -> bool:
        """Whether it may start nothing, because another one is alone."""
        return self._owner is not None and self._owner is not member

    async def end(self) -> None:
        """Return when nobody is alone."""
        while self._owner is not None:
            self._free.clear()
            await self._free.wait()

    @asynccontextmanager
    async def of(self, member: object) -> AsyncIterator[None]:
        """In the block nothing of the others runs, except what waits for the outcome of another job."""
        await self.end()
        self._owner = member
        try:
            for other, make_way in self._members.items():
                if other is not member:
                    await make_way()
            yield
        finally:
            self._owner = None
            self._free.set()
