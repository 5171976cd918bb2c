"""The audit of the memory broker."""

from __future__ import annotations

from itertools import islice

from ..audit import AuditEntry
from .graphs import GraphStore

__all__ = ["AuditVerbs"]


class AuditVerbs:
    """The verbs of ``Audit``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def note_action(self, sealed: bytes) -> None:
        async with self._store as store:
            store.audited.append(AuditEntry(store.clock.time(), sealed))

    async def actions(self, limit: int = 100) -> list[AuditEntry]:
        async with self._store as store:
            return list(islice(reversed(store.audited), limit))
