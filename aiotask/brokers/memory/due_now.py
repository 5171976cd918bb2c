"""Runs scheduled jobs at once, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from .graphs import GraphStore

__all__ = ["DueNowVerbs"]


class DueNowVerbs:
    """The verb of ``DueNow``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def make_due(self, ids: Sequence[str]) -> list[bool]:
        async with self._store as store:
            return [_make_due(store, id) for id in ids]


def _make_due(store: GraphStore, id: str) -> bool:
    record = store.index.get(id)
    if record is None or record.due_at is None:
        return False
    store.schedule(record, record.lane, store.clock.time(), is_retry=record.is_retry)
    return True
