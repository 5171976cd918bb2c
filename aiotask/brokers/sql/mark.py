"""The low-water mark of the claims from one table: where the rows begin that are still there.

While an old transaction is open, PostgreSQL keeps the index entries of every row that was claimed since. A claim that
begins at the first entry reads all of them, each time: claims become slower with every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Mark"]

#: Rows of one priority after which a claim begins at the mark.
MANY = 1_000
#: Seconds after which a claim reads from the beginning again: what was committed late, or given back, is before the
#: mark.
AGAIN = 10.0
#: Once in this many seconds a claim begins this far before the mark: transactions may commit in another order than they
#: began.
SOON, BACK = 1.0, timedelta(minutes=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Mark:
    """Where claims of one priority begin."""

    def __init__(self) -> None:
        self.priority = 5
        self._last = _BEGINNING
        self._taken = 0
        self._read_all_at = self._read_back_at = -AGAIN

    def counts(self, now: float) -> bool:
        """Whether a claim at this monotonic time begins at the mark."""
        if self._taken >= MANY and now - self._read_all_at < AGAIN:
            return True
        self._read_all_at = now
        return False

    def since(self, now: float) -> datetime:
        """The moment from which on rows of the priority are read by a claim at this monotonic time."""
        if now - self._read_back_at < SOON or self._last is _BEGINNING:
            return self._last
        self._read_back_at = now
        return self._last - BACK

    def move(self, rows: Sequence[Any]) -> None:
        """Rows were claimed, in the order of the index."""
        if not rows:
            # Whatever is left lies before the mark, or nowhere.
            self._taken = 0
            return
        last = rows[-1]
        if last.priority != self.priority:
            self.priority, self._taken = last.priority, 0
            self._last = _BEGINNING
        self._taken += len(rows)
        self._last = max(self._last, last.due_at)
