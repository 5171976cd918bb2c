"""Jobs that expire by the broker's clock: the verbs of brokers with the feature ``EXPIRY``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from .graphs import Graphs

__all__ = ["BATCH_EXPIRED", "Expired", "Expiry"]

#: Expired jobs that one ``promote`` names at most.
BATCH_EXPIRED = 100


class Expired(msgspec.Struct, frozen=True, gc=False):
    """A job that has expired and that no worker has."""

    id: str
    #: Unix seconds by the broker's clock; 0: not known any more.
    at: float
    #: Name of the task as the envelope has it, whose seal is not checked; empty: it cannot be read.
    task: str
    #: Seconds for which the outcome is kept.
    result_ttl: float
    #: Number of the run that would have come next.
    attempt: int


class Expiry(Graphs, Protocol):
    """A broker that knows when jobs expire."""

    @property
    def expired(self) -> Sequence[Expired]:
        """What the last ``promote`` of this object has found; the caller ends these jobs by ``conclude``."""
        ...

    async def seconds_left(self, ids: Sequence[str]) -> list[float | None]:
        """For each job the seconds in which a run of it may start, 0.0 if none is left. None: the broker does not know
        that the job expires."""
        ...
