"""What some brokers can do beyond the verbs of ``Broker``: run scheduled jobs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..broker import Broker

__all__ = ["DueNow"]


class DueNow(Broker, Protocol):
    """A broker with the feature ``DUE_NOW``."""

    async def make_due(self, ids: Sequence[str]) -> list[bool]:
        """Make scheduled and retrying jobs due, at most BATCH_JOBS, in this order; the next ``promote`` queues them.
        False: the job is not scheduled (any more), or is not known."""
        ...
