"""The finished jobs that the memory broker keeps for recorders."""

from __future__ import annotations

import itertools
import time

from .bell import Bell
from .record import Record, Row

__all__ = ["Rows"]

#: Seconds after which the rows that a recorder read and did not trim go to whoever reads next.
RECORDER_IDLE = 60.0
#: Older rows that nobody recorded make room.
HISTORY_ROWS = 1_000_000


class Rows:
    """What has ended and is not recorded, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, Row] = {}
        self.is_recording = False
        self.recorders: set[Bell] = set()
        self._counter = itertools.count(1)

    def record(self, record: Record, outcome: bytes) -> None:
        """Append a finished job for the recorders."""
        entry = str(next(self._counter))
        self.history[entry] = Row(entry, record.sealed, outcome, record.meta)
        if len(self.history) > HISTORY_ROWS:
            del self.history[next(iter(self.history))]
        self.recorders = {bell for bell in self.recorders if bell.ring()}

    def read(self, recorder: str, limit: int) -> list[Row]:
        """Rows that nobody reads, or whose reader went away, oldest first."""
        self.is_recording = True
        now = time.monotonic()
        free = (row for row in self.history.values() if not row.reader or row.read_at < now - RECORDER_IDLE)
        rows = list(itertools.islice(free, limit))
        for row in rows:
            row.reader, row.read_at = recorder, now
        return rows
