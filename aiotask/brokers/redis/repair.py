"""Puts the index of jobs right when somebody deleted it, or a part of it."""

from __future__ import annotations

from functools import cache

from .connection import Wire
from .script import Script

__all__ = ["audit"]

#: Pages of the index that are put right in one go.
_PAGES = 20

_script = cache(Script)


async def audit(wire: Wire, prefix: str) -> None:
    """Look through one page of the index, or through up to 20 when all of it was deleted.

    Raises:
        BrokerError: the server could not.
    """
    for page in range(_PAGES):
        _, found, is_lost = await wire.run(_script("audit"), prefix)
        if not is_lost:
            return
        if not page:
            await _gather_buckets(wire, f"{prefix}index")
        if not found:
            # It is whole; until now nobody was told that a job is gone.
            await wire.call("SADD", f"{prefix}index", ".")
            return


async def _gather_buckets(wire: Wire, index: str) -> None:
    """The set of the buckets was deleted: what nobody knows of would stay for ever."""
    cursor = b"0"
    while True:
        cursor, names = await wire.call("SCAN", cursor, "MATCH", f"{index}:*", "COUNT", 1000)
        if names:
            await wire.call("SADD", index, *(name[len(index) + 1 :] for name in names))
        if cursor == b"0":
            return
