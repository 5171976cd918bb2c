"""What an app hides, on Redis: a hash."""

from __future__ import annotations

from .codec import text
from .connection import Wire

__all__ = ["HideVerbs"]


class HideVerbs:
    """The verbs of ``Hides``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def hide(self, by: str, packed: bytes) -> None:
        if packed:
            await self.wire.call("HSET", f"{self.prefix}hides", by, packed)
        else:
            await self.wire.call("HDEL", f"{self.prefix}hides", by)

    async def hidden(self) -> dict[str, bytes]:
        flat = await self.wire.call("HGETALL", f"{self.prefix}hides")
        return {text(by): packed for by, packed in zip(flat[::2], flat[1::2], strict=True)}
