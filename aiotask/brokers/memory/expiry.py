"""Jobs that expire, as the memory broker keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import Special
from ..expiry import BATCH_EXPIRED, Expired
from .clock import Clock
from .record import Record

__all__ = ["Expiring"]


class Expiring:
    """The part of ``Store`` that knows when jobs expire."""

    clock: Clock
    index: dict[str, Record]

    def __init__(self) -> None:
        super().__init__()
        #: Unix seconds by the id of the job.
        self.expiring: dict[str, float] = {}

    def let_expire(self, id: str, special: Special | None) -> None:
        """Note when a job expires that is accepted, or becomes ready, now."""
        if special is not None and (expires := special.expires):
            self.expiring[id] = expires if expires > 0 else self.clock.time() - expires

    def expired(self) -> list[Expired]:
        """Jobs that have expired and that no worker has."""
        found: list[Expired] = []
        at = self.clock.time()
        for id in sorted(self.expiring, key=self.expiring.__getitem__):
            if self.expiring[id] > at or len(found) == BATCH_EXPIRED:
                break
            record = self.index.get(id)
            if record is None:
                del self.expiring[id]
            elif not record.owner:
                found.append(Expired(id, self.expiring[id], *record.end_facts, record.meta.attempt))
        return found

    def seconds_left(self, ids: Sequence[str]) -> list[float | None]:
        at = self.clock.time()
        return [max(0.0, self.expiring[id] - at) if id in self.expiring else None for id in ids]
