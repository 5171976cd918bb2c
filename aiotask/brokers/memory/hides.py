"""What an app hides, on the memory broker."""

from __future__ import annotations

from .graphs import GraphStore

__all__ = ["HideVerbs"]


class HideVerbs:
    """The verbs of ``Hides``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def hide(self, by: str, packed: bytes) -> None:
        async with self._store as store:
            store.hides[by] = packed

    async def hidden(self) -> dict[str, bytes]:
        async with self._store as store:
            return {by: packed for by, packed in store.hides.items() if packed}
