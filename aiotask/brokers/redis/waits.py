"""How long jobs have waited in their lanes, from the numbers of their entries, which begin with the server's time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...broker import Delivery
from ..lanes import is_parked, queue_of
from .codec import text

__all__ = ["oldest", "oldest_of", "waits_of"]

#: Lane, and entry of the oldest job from there.
_Oldest = tuple[str, str]


def oldest(flat: list[Any], start: int) -> Iterator[_Oldest]:
    """The first job of each lane in a reply of claim.lua, see ``codec.claimed``."""
    while start < len(flat):
        yield text(flat[start]), flat[start + 2].decode()
        start += 2 + 3 * flat[start + 1]


def oldest_of(deliveries: Sequence[Delivery]) -> Iterator[_Oldest]:
    """The same of the jobs of a blocking claim, one of each lane."""
    return ((each.lane, each.entry) for each in deliveries)


def waits_of(found: Iterable[_Oldest], now: float) -> list[tuple[str, float]]:
    """Queue and seconds of each lane but those of parked jobs; ``now`` by the server's clock (Unix seconds)."""
    return [
        (queue_of(lane), max(0.0, now - int(entry.partition("-")[0]) / 1000))
        for lane, entry in found
        if not is_parked(lane)
    ]
