"""The history verbs, of brokers that have the feature ``history``: finished jobs on their way to a recorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..broker import Broker
from ..job import Meta

__all__ = ["History", "HistoryRow"]


class HistoryRow(msgspec.Struct, frozen=True, gc=False):
    """One finished job as the recorder gets it: sealed envelope, sealed outcome. Several rows may share an entry."""

    entry: str
    job: bytes
    outcome: bytes
    meta: Meta


class History(Broker, Protocol):
    """A broker that keeps finished jobs until a recorder has them."""

    async def start_history(self) -> None:
        """Keep finished jobs for a recorder from now on, even while no recorder reads them."""
        ...

    async def read_history(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        """Finished jobs to record, oldest first; rows that a vanished recorder had read come again.

        Rows that share an entry come together, so there may be some more or fewer than ``limit``."""
        ...

    async def unrecorded(self) -> int:
        """Number of finished jobs that are kept for a recorder."""
        ...

    async def trim_history(self, entries: Sequence[str]) -> None:
        """Delete the rows of these entries, which are recorded."""
        ...
