"""Runs scheduled jobs at once, on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from .connection import Wire
from .script import script

__all__ = ["DueNowVerbs"]


class DueNowVerbs:
    """The verb of ``DueNow``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def make_due(self, ids: Sequence[str]) -> list[bool]:
        return [answer == 1 for answer in await self.wire.run(script("make_due"), self.prefix, *ids)]
