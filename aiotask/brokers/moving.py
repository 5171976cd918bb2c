"""What some brokers can do beyond the verbs of ``Broker``: move jobs to another queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..broker import Broker

__all__ = ["Move", "Moving"]


class Move(NamedTuple):
    """A job that goes to another queue."""

    id: str
    #: First bytes of the envelope that the caller has opened, which are those of no other one (``seal.OVERHEAD``).
    seal: bytes
    #: The envelope for the other queue.
    sealed: bytes


class Moving(Broker, Protocol):
    """A broker with the feature ``MOVE``."""

    async def move(self, queue: str, batch: Sequence[Move]) -> list[bool]:
        """Move jobs that no worker has to the end of the same lane of this queue, at most BATCH_JOBS, in this order.

        Scheduled and retrying jobs keep their time, limited ones their number in their line, and all their counters.
        Parked jobs wait for a worker of this queue. False: the job has started or ended, waits for other jobs, or is
        not known; or another job has the id by now."""
        ...
