"""Moves jobs to another queue, on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from ..moving import Move
from .connection import Wire
from .script import script

__all__ = ["MovingVerbs"]


class MovingVerbs:
    """The verb of ``Moving``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def move(self, queue: str, batch: Sequence[Move]) -> list[bool]:
        arguments = [part for each in batch for part in each]
        return [answer == 1 for answer in await self.wire.run(script("move"), self.prefix, queue, *arguments)]
