"""Jobs that expire, on Redis: a sorted set of their times, by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence

from ..expiry import Expired
from .codec import text
from .connection import Wire
from .script import script

__all__ = ["Expiries", "jobs_in"]


class Expiries:
    """The part of ``RedisBroker`` that finds jobs which have expired."""

    wire: Wire
    prefix: str
    expired: Sequence[Expired] = ()

    async def seconds_left(self, ids: Sequence[str]) -> list[float | None]:
        return [
            float(left) if left else None for left in await self.wire.run(script("seconds_left"), self.prefix, *ids)
        ]


def jobs_in(flat: Sequence[bytes]) -> list[Expired]:
    """What promote.lua has found, five values a job."""
    rows = zip(*(iter(flat),) * 5, strict=True)
    return [Expired(text(id), float(at), text(task), float(ttl), int(run)) for id, at, task, ttl, run in rows]
