"""The jobs that a job has sent, on Redis: a list of ids."""

from __future__ import annotations

from collections.abc import Sequence

from .codec import milliseconds, text
from .connection import Wire
from .script import script

__all__ = ["Kids", "KidsView"]


class Kids:
    """The part of ``RedisBroker`` that keeps lists of children."""

    wire: Wire
    prefix: str

    async def add_children(self, parent: str, ids: Sequence[str], ttl: float) -> None:
        await self.wire.run(script("kids"), self.prefix, parent, milliseconds(ttl), *ids)


class KidsView:
    """The part of ``RedisInspector`` that reads them."""

    _wire: Wire
    _prefix: str

    async def children(self, id: str) -> list[str]:
        # A run that was repeated has sent the same jobs again.
        return list(dict.fromkeys(map(text, await self._wire.call("LRANGE", f"{self._prefix}kids:{id}", 0, -1))))
