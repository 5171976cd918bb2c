"""The metrics page: one shared page beside each board, on which worker processes count their jobs.

The numbers of a page only grow: a process that takes over a board goes on counting where the last one ended, so a
process that is killed takes nothing along that it has written down.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from typing import NamedTuple

from ..values.metrics import Counts, Table

__all__ = ["Counted", "MetricsPage"]

#: Rows for tasks, queues and errors, and bytes of a row. What finds no row is counted in the last one, as ``other``.
_TASKS, _QUEUES, _ERRORS = 256, 64, 64
_ROW, _WORDS = 512, 64
_HEAD = 64
# Numbers of the views on the head: words of 8 bytes. How many rows are in use is written last: a reader sees no row
# before its name is there. The lag is a double.
_USED_TASKS, _USED_QUEUES, _USED_ERRORS, _LAG = 0, 1, 2, 3
#: Bytes of a row that hold the app, a NUL, and the name, behind two bytes with their length; the rest are numbers.
_NAME = 174
#: The words of the numbers that are no buckets, and of the buckets: see ``values.metrics.Slot``.
_RARE, _BUCKETS = 20, -1
_FIRST_BUCKET = 33
_OTHER = "other"


class Counted(NamedTuple):
    """What was counted of one app since the page was made."""

    tasks: dict[str, Counts]
    queues: dict[str, Counts]
    errors: dict[str, int]


class _Rows:
    """The rows of one kind: each has a name and 42 numbers, each of which is one store through a view of the page: a
    reader sees the number before or after it."""

    def __init__(self, page: memoryview, start: int, most: int, used: memoryview) -> None:
        self._bytes = page[start : start + most * _ROW]
        self._longs: memoryview[int] = self._bytes.cast("q")
        self._used: memoryview[int] = used
        self._most = most
        self._at: dict[bytes, int] = {}
        self._has_read = 0

    def add(self, app: str, name: str, slots: Mapping[int, int]) -> None:
        first = self._row_of(app, name) * _WORDS
        longs = self._longs
        for slot, number in slots.items():
            longs[first + slot + (_BUCKETS if slot >= _FIRST_BUCKET else _RARE)] += number

    def _row_of(self, app: str, name: str) -> int:
        key = _key(app, name)
        at = self._at.get(key)
        if at is not None:
            return at
        # The processes that had this page before have left their rows.
        for row in range(self._has_read, self._used[0]):
            self._at[self._key_at(row)] = row
        self._has_read = self._used[0]
        if key in self._at:
            return self._at[key]
        if self._has_read < self._most - 1:
            row = self._has_read
        else:
            row, key = self._most - 1, _key("", _OTHER)
        start = row * _ROW
        self._bytes[start : start + 2] = len(key).to_bytes(2)
        self._bytes[start + 2 : start + 2 + len(key)] = key
        self._at[key] = row
        self._has_read = self._used[0] = max(self._used[0], row + 1)
        return row

    def _key_at(self, row: int) -> bytes:
        start = row * _ROW
        size = int.from_bytes(self._bytes[start : start + 2])
        return bytes(self._bytes[start + 2 : start + 2 + min(size, _NAME)])

    def read(self, app: str) -> dict[str, Counts]:
        found: dict[str, Counts] = {}
        for row in range(min(self._used[0], self._most)):
            owner, _, name = self._key_at(row).decode("utf-8", "replace").partition("\0")
            if owner in (app, ""):
                first = row * _WORDS
                words = self._longs[first : first + _WORDS].tolist()
                found[name] = Counts({slot: words[word] for slot, word in _PLACES if words[word]})
        return found


#: Slots and their words.
_PLACES = tuple(
    (slot, slot + (_BUCKETS if slot >= _FIRST_BUCKET else _RARE)) for slot in (*range(2, 12), *range(33, 65))
)


def _key(app: str, name: str) -> bytes:
    """App and name as they stand in a row; a longer one is cut, and told apart by its digest."""
    key = f"{app}\0{name}".encode("utf-8", "replace")
    if len(key) <= _NAME:
        return key
    digest = hashlib.blake2s(key, digest_size=4).hexdigest()
    return key[: _NAME - 12].decode("utf-8", "ignore").encode() + f"…{digest}".encode()


class MetricsPage:
    """The page of one board, made before any fork. One process writes at a time, from one thread; any number read."""

    def __init__(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        page = memoryview(mmap.mmap(-1, _HEAD + (_TASKS + _QUEUES + _ERRORS) * _ROW))
        head = page[:_HEAD]
        longs = head.cast("q")
        self._doubles: memoryview[float] = head.cast("d")
        start = _HEAD
        rows: list[_Rows] = []
        for most, used in ((_TASKS, _USED_TASKS), (_QUEUES, _USED_QUEUES), (_ERRORS, _USED_ERRORS)):
            rows.append(_Rows(page, start, most, longs[used : used + 1]))
            start += most * _ROW
        self._tasks, self._queues, self._errors = rows

    def detach(self) -> None:
        """In a process that a task has forked: count on a page of its own from now on, which no process reads."""
        self._lay_out()

    def add(self, app: str, tasks: Table, queues: Table, errors: Mapping[str, int]) -> None:
        """Add to what was counted before."""
        for name, slots in tasks.items():
            self._tasks.add(app, name, slots)
        for name, slots in queues.items():
            self._queues.add(app, name, slots)
        for shape, number in errors.items():
            self._errors.add(app, shape, {2: number})

    def read(self, app: str) -> Counted:
        """What was counted of an app since the page was made; what found no row is that of every app."""
        errors = {name: counts.slots.get(2, 0) for name, counts in self._errors.read(app).items()}
        return Counted(self._tasks.read(app), self._queues.read(app), errors)

    @property
    def lag(self) -> float:
        """Seconds that the loop of the process was late at most, of late."""
        return self._doubles[_LAG]

    @lag.setter
    def lag(self, seconds: float) -> None:
        self._doubles[_LAG] = seconds
