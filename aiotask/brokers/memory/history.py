"""The verbs of the history of the memory broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..history import HistoryRow
from .graphs import GraphStore
from .wakeup import Bell

__all__ = ["HistoryVerbs"]


class HistoryVerbs:
    """The verbs of ``history.History``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def start_history(self) -> None:
        async with self._store as store:
            store.is_recording = True

    async def read_history(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        bell = Bell()
        async with self._store as store:
            store.recorders.add(bell)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    with store.lock:
                        rows = store.read(recorder, limit)
                    if rows:
                        return [HistoryRow(row.entry, row.job, row.outcome, row.meta) for row in rows]
                    await bell.rung()
        except TimeoutError:
            return []
        finally:
            with store.lock:
                store.recorders.discard(bell)

    async def unrecorded(self) -> int:
        async with self._store as store:
            return len(store.history)

    async def trim_history(self, entries: Sequence[str]) -> None:
        async with self._store as store:
            for entry in entries:
                store.history.pop(entry, None)
