"""The verbs of streams, progress and checkpoints of the memory broker."""

from __future__ import annotations

from collections.abc import Sequence

from ..streams import Emit, Emitted, Report
from .inspector import MemoryInspector

__all__ = ["StreamVerbs"]


class StreamVerbs(MemoryInspector):
    """The verbs of ``streams.Streams``."""

    async def emit(self, incarnation: str, item: Emit) -> Emitted:
        async with self._store as store:
            return store.emit(incarnation, item)

    async def read_items(self, id: str, after: int, address: str, limit: int) -> list[tuple[int, bytes]]:
        async with self._store as store:
            return store.read_items(id, after, address, limit)

    async def leave_stream(self, id: str, address: str) -> None:
        async with self._store as store:
            store.leave_stream(id, address)

    async def report(self, batch: Sequence[Report]) -> list[bool]:
        async with self._store as store:
            return [store.report(item) for item in batch]

    async def checkpoints(self, ids: Sequence[str]) -> list[bytes | None]:
        async with self._store as store:
            return store.checkpoints(ids)

    async def follow(self, id: str, address: str) -> bytes | None:
        async with self._store as store:
            return store.follow(id, address)

    async def unfollow(self, id: str, address: str) -> None:
        async with self._store as store:
            store.unfollow(id, address)
