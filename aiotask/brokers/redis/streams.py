"""The verbs of streams, progress and checkpoints on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...broker import BATCH_BYTES
from ..streams import Emit, Emitted, Reader, Report
from .codec import milliseconds
from .connection import Wire
from .script import script

__all__ = ["StreamVerbs"]


class StreamVerbs:
    """The verbs of ``Streams``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def _run(self, name: str, *args: Any) -> Any:
        return await self.wire.run(script(name), self.prefix, *args)

    async def emit(self, incarnation: str, item: Emit) -> Emitted:
        claim = item.delivery
        waits = "1" if item.waits else ""
        where = (claim.lane, claim.entry, incarnation)
        reply = await self._run("emit", claim.id, *where, waits, milliseconds(item.ttl), item.first, *item.items)
        last, taken, reader = reply
        return Emitted(last, taken, Reader(reader)) if last >= 0 else Emitted(0, 0, Reader.GONE, yours=False)

    async def read_items(self, id: str, after: int, address: str, limit: int) -> list[tuple[int, bytes]]:
        flat = await self._run("read", id, address, after, limit, BATCH_BYTES)
        return list(zip(flat[::2], flat[1::2], strict=True))

    async def leave_stream(self, id: str, address: str) -> None:
        await self._run("leave_stream", id, address)

    async def report(self, batch: Sequence[Report]) -> list[bool]:
        args: list[Any] = []
        for item in batch:
            args += (item.delivery.lane, item.delivery.entry, item.delivery.id, item.progress, item.checkpoint)
        return [answer == 1 for answer in await self._run("report", *args)]

    async def checkpoints(self, ids: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = await self.wire.call("HMGET", f"{self.prefix}checkpoints", *ids) if ids else []
        return found

    async def follow(self, id: str, address: str) -> bytes | None:
        found: bytes | None = await self._run("follow", id, address)
        return found

    async def unfollow(self, id: str, address: str) -> None:
        await self._run("unfollow", id, address)

    async def forget_one(self, id: str) -> bool:
        """Remove the outcome of a job and its items; whether there was an outcome."""
        if not await self.wire.call("DEL", f"{self.prefix}r:{id}"):
            return False
        await self.wire.call("DEL", f"{self.prefix}s:{id}", f"{self.prefix}reader:{id}")
        return True
