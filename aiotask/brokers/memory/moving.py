"""Moves jobs to another queue, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ...wire.seal import OVERHEAD
from ..lanes import is_line, lane_of
from ..moving import Move
from .graphs import GraphStore

__all__ = ["MovingVerbs"]


class MovingVerbs:
    """The verb of ``Moving``, a part of ``MemoryBroker``."""

    _store: GraphStore

    async def move(self, queue: str, batch: Sequence[Move]) -> list[bool]:
        async with self._store as store:
            return [_move(store, queue, each) for each in batch]


def _move(store: GraphStore, queue: str, move: Move) -> bool:
    record = store.index.get(move.id)
    if record is None or record.owner or move.id in store.results or record.sealed[:OVERHEAD] != move.seal:
        return False
    place = record.lane if record.due_at is not None or not is_line(record.lane) else f"{record.lane}|{record.entry}"
    if record.due_at is None:
        del store.lanes[record.lane].waiting[record.entry]
    need, kept = record.need, record.kept
    record.queue, record.sealed, record.kept = queue, move.sealed, ""
    store.queues.add(queue)
    if record.due_at is not None:
        record.lane = _target_in(place, queue)
    elif need:
        store.place(record, _target_in(kept, queue) if kept else record.sent_lane)
    else:
        store.place(record, _target_in(place, queue))
    return True


def _target_in(target: str, queue: str) -> str:
    """The same lane of a queue, or the same place in the line there."""
    if is_line(target):
        return f"l:{queue}:{target.split(':', 2)[2]}"
    return lane_of(queue, target.rpartition(":")[2])
