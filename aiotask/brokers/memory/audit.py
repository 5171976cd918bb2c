"""The audit of the memory broker."""

from __future__ import annotations

from itertools import islice

from ..audit import AuditEntry
from .graphs import GraphStore

__all__ = ["AuditVerbs"]


class AuditVerbs:
    """The verbs of ``Audit``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def note_action(self, sealed: bytes, *, refused: bool = False) -> None:
        async with self._store as store:
            (store.refusals if refused else store.audited).append(AuditEntry(store.clock.time(), sealed))

    async def actions(self, limit: int = 100, *, refused: bool = False) -> list[AuditEntry]:
        async with self._store as store:
            return list(islice(reversed(store.refusals if refused else store.audited), limit))
