"""What jobs emit and report while they run, as the memory broker keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ...broker import BATCH_BYTES, Delivery, Notice
from ..streams import KEPT_ITEMS, READER_TTL, Emit, Emitted, Reader, Report
from .clock import Clock
from .record import Record
from .store import Store

__all__ = ["StreamStore"]


@dataclass
class _Stream:
    """The items of one job, and how far they were read."""

    expires: float
    items: dict[int, bytes] = field(default_factory=dict)
    last: int = 0
    taken: int = 0
    #: Address of the reader: None if none ever came, empty if it has left.
    reader: str | None = None
    #: The incarnation that waits for the reader.
    waits: str = ""


class StreamStore(Store):
    """All state of one app, streams among it."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self._streams: dict[str, _Stream] = {}
        self._progress: dict[str, bytes] = {}
        self._followers: dict[str, set[str]] = {}
        self._checkpoints: dict[str, bytes] = {}

    def forget(self, record: Record) -> None:
        if self.index.get(record.id) is record:
            self.undo_run(record.id)
        super().forget(record)

    def undo_run(self, id: str) -> None:
        """Remove what the runs of a job have reported."""
        self._progress.pop(id, None)
        self._followers.pop(id, None)
        self._checkpoints.pop(id, None)

    def note_checkpoint(self, record: Record) -> None:
        """The run of a job is over: the next one asks for what it has saved, if it has."""
        if record.id in self._checkpoints:
            record.meta = msgspec.structs.replace(record.meta, saved=True)

    def checkpoints(self, ids: Sequence[str]) -> list[bytes | None]:
        return [self._checkpoints.get(id) for id in ids]

    def drop_stream(self, id: str) -> None:
        """Remove the items of a job."""
        self._streams.pop(id, None)

    def forget_outcome(self, id: str) -> bool:
        """Remove the outcome of a job that has ended, and its items; whether there was an outcome."""
        if id in self.index or self.results.pop(id, None) is None:
            return False
        self.drop_stream(id)
        return True

    def expire(self) -> None:
        super().expire()
        now = self.clock.monotonic()
        for id in [id for id, stream in self._streams.items() if stream.expires <= now]:
            del self._streams[id]

    def _is_claimed(self, delivery: Delivery) -> bool:
        """Whether the run that was given this entry still has the job: another run is given another entry."""
        lane = self.lanes.get(delivery.lane)
        return lane is not None and delivery.entry in lane.claimed

    def emit(self, incarnation: str, item: Emit) -> Emitted:
        id = item.delivery.id
        if not self._is_claimed(item.delivery):
            return Emitted(0, 0, Reader.GONE, yours=False)
        stream = self._streams.setdefault(id, _Stream(0.0))
        stream.expires = self.clock.monotonic() + item.ttl
        for number, sealed in enumerate(item.items, item.first):
            if number > stream.last:
                stream.items[number] = sealed
                stream.last = number
                self.notify({stream.reader} if stream.reader else (), Notice(id, item=sealed))
        if item.waits:
            stream.waits = incarnation
        if stream.reader is None:
            return Emitted(stream.last, stream.taken, Reader.NEVER)
        return Emitted(stream.last, stream.taken, Reader.HERE if stream.reader in self.listeners else Reader.GONE)

    def read_items(self, id: str, after: int, address: str, limit: int) -> list[tuple[int, bytes]]:
        stream = self._streams.get(id)
        if address:
            if stream is None:
                stream = self._streams[id] = _Stream(self.clock.monotonic() + READER_TTL)
            self._read_on(id, stream, after, address)
        found: list[tuple[int, bytes]] = []
        room = BATCH_BYTES
        for number, sealed in (stream.items if stream is not None else {}).items():
            if len(found) == limit or room < 0:
                break
            if number > after:
                found.append((number, sealed))
                room -= len(sealed)
        return found

    def _read_on(self, id: str, stream: _Stream, after: int, address: str) -> None:
        stream.reader = address
        stream.taken = max(stream.taken, min(after, stream.last))
        for number in [number for number in stream.items if number <= stream.taken - KEPT_ITEMS]:
            del stream.items[number]
        if stream.waits:
            self.notify({stream.waits}, Notice(id))
            stream.waits = ""

    def leave_stream(self, id: str, address: str) -> None:
        stream = self._streams.get(id)
        if stream is not None and stream.reader == address:
            stream.reader = ""

    def report(self, item: Report) -> bool:
        id = item.delivery.id
        if not self._is_claimed(item.delivery):
            return False
        if item.checkpoint:
            self._checkpoints[id] = item.checkpoint
        if item.progress:
            self._progress[id] = item.progress
            self.notify(self._followers.get(id, ()), Notice(id, progress=item.progress))
        return True

    def follow(self, id: str, address: str) -> bytes | None:
        if address and id in self.index:
            self._followers.setdefault(id, set()).add(address)
        return self._progress.get(id)

    def unfollow(self, id: str, address: str) -> None:
        followers = self._followers.get(id, set())
        followers.discard(address)
        if not followers:
            self._followers.pop(id, None)
