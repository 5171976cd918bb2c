"""Solitude: one worker of a process has it to itself while it runs a suspect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

__all__ = ["Solitude"]


class Member(Protocol):
    """A worker that may have to make way."""

    def give_back_unstarted(self) -> None:
        """What it holds and has not started goes back."""
        ...

    async def become_idle(self) -> None:
        """Return when nothing of it runs."""
        ...


class Solitude:
    """Several workers of one process, each for another app, share it as they share the seats.

    All methods are for their loop.
    """

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._owner: Member | None = None
        self._free = asyncio.Event()

    def join(self, member: Member) -> None:
        """From now on it makes way."""
        self._members.append(member)

    @property
    def is_shared(self) -> bool:
        return len(self._members) > 1

    def excludes(self, member: Member) -> bool:
        """Whether it may start nothing, because another one is alone."""
        return self._owner is not None and self._owner is not member

    async def end(self) -> None:
        """Return when nobody is alone."""
        while self._owner is not None:
            self._free.clear()
            await self._free.wait()

    @asynccontextmanager
    async def of(self, member: Member) -> AsyncIterator[None]:
        """In the block nothing of the others runs, except what waits for the outcome of another job."""
        await self.end()
        self._owner = member
        try:
            for other in self._members:
                if other is not member:
                    other.give_back_unstarted()
                    await other.become_idle()
            yield
        finally:
            self._owner = None
            self._free.set()
