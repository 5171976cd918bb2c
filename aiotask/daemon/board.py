"""The board: one shared page per worker, on which it writes down what it is doing.

The page outlives the process, so whoever looks after a death, or while somebody holds the GIL, still
reads which jobs were running, until when, and whether the loop was alive.
"""

from __future__ import annotations

import mmap
import struct
import time

__all__ = ["Board", "Started"]

# Head: heartbeat (monotonic s), pid, highest slot ever used + 1, incarnations joined by a bar.
_NAMES_AT, _NAMES = 16, 800
_SLOT = struct.Struct("=ddB200s")  # deadline (monotonic s, 0: none), seconds until a retry (-1: fail), id length, id
_SIZE = _SLOT.size
_LENGTH_AT = 16
_FIRST = 1024
_BEAT = struct.Struct("=d")
_PID = struct.Struct("=I")


class Started:
    """A job that has started and whose user code has not ended."""

    __slots__ = ("again", "deadline", "id")

    def __init__(self, id: str, deadline: float, again: float) -> None:
        self.id = id
        self.deadline = deadline
        self.again = again


class Board:
    """The page of one worker process, made before the fork.

    Args:
        slots: jobs that can run at a time.
    """

    def __init__(self, slots: int) -> None:
        self._map = mmap.mmap(-1, _FIRST + slots * _SIZE)
        self._high = 0

    def reset(self) -> None:
        """For the next process in this place."""
        self._map[: len(self._map)] = bytes(len(self._map))
        self._high = 0

    # ---- the worker's side

    def settle_in(self, pid: int) -> None:
        _PID.pack_into(self._map, 8, pid)
        self.beat()

    def enlist(self, incarnation: str) -> None:
        """A worker of this process has this name now."""
        names = [name for name in self.incarnations if name != incarnation][-3:] + [incarnation]
        raw = "|".join(names).encode()[:_NAMES]
        self._map[_NAMES_AT : _NAMES_AT + _NAMES] = raw.ljust(_NAMES, b"\0")

    def beat(self) -> None:
        _BEAT.pack_into(self._map, 0, time.monotonic())

    def start(self, slot: int, id: str, deadline: float, again: float) -> None:
        raw = id.encode()
        if slot >= self._high:
            self._high = slot + 1
            _PID.pack_into(self._map, 12, self._high)
        # The length last would be safer still, but one pack is one store for a reader of another process
        # in all that matters: it reads after a death, or far behind a deadline.
        _SLOT.pack_into(self._map, _FIRST + slot * _SIZE, deadline, again, len(raw), raw)

    def clear(self, slot: int) -> None:
        self._map[_FIRST + slot * _SIZE + _LENGTH_AT] = 0

    # ---- the side of those who look

    @property
    def pid(self) -> int:
        return int(_PID.unpack_from(self._map, 8)[0])

    @property
    def incarnations(self) -> list[str]:
        raw = self._map[_NAMES_AT : _NAMES_AT + _NAMES].rstrip(b"\0").decode("utf-8", "replace")
        return [name for name in raw.split("|") if name]

    @property
    def heartbeat(self) -> float:
        """When the loop last turned, on the monotonic clock."""
        return float(_BEAT.unpack_from(self._map, 0)[0])

    def started(self) -> list[Started]:
        """What is running, or was as the process died."""
        found = []
        (high,) = _PID.unpack_from(self._map, 12)
        for slot in range(high):
            at = _FIRST + slot * _SIZE
            if self._map[at + _LENGTH_AT]:
                deadline, again, length, raw = _SLOT.unpack_from(self._map, at)
                found.append(Started(raw[:length].decode("utf-8", "replace"), deadline, again))
        return found

    def overdue(self, now: float, tolerance: float) -> list[Started]:
        """Jobs that run although their limit passed this many seconds ago."""
        return [job for job in self.started() if job.deadline and now > job.deadline + tolerance]
