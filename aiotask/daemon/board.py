"""The board: one shared page per worker, on which it writes down what it is doing.

The page outlives the process, so whoever looks after a death, or while somebody holds the GIL, still
reads which jobs were running, until when, and whether the loop was alive.
"""

from __future__ import annotations

import mmap
import struct
import time

__all__ = ["Board", "Started"]

#: Bytes of an id: 200 characters.
_ID = 800
_NAMES_AT, _NAMES = 64, 900
# The last jobs that were started, as hashes: far more than a worker ever holds unsettled.
_RING_AT, _RING = 1024, 4096
_SLOTS_AT = _RING_AT + 8 * _RING
# Deadline of a cancel (monotonic s), hash of the id that it is for; deadline (0: none), s until a retry
# (-1: fail), length of the id, id.
_SLOT = struct.Struct(f"=dqddH{_ID}s")
_HURRY = struct.Struct("=dq")
_LENGTH_AT = 32
_DOUBLE = struct.Struct("=d")
_WORD = struct.Struct("=I")
_LONG = struct.Struct("=q")
# Head.
_BEAT_AT, _PID_AT, _HIGH_AT, _RELIEF_AT, _NOTICED_AT, _BURIED_AT, _COUNT_AT = 0, 8, 12, 16, 20, 24, 32


class Started:
    """A job that has started and whose user code has not ended."""

    __slots__ = ("again", "deadline", "id", "slot")

    def __init__(self, slot: int, id: str, deadline: float, again: float) -> None:
        self.slot = slot
        self.id = id
        self.deadline = deadline
        self.again = again


class Board:
    """The page of one worker process, made before the fork.

    Hashes of ids mean the same to all who read a board: they are forks of one process.

    Args:
        slots: jobs that can run at a time. Pages of slots that are never used cost nothing, so the
            ones that are used always should come first.
    """

    def __init__(self, slots: int) -> None:
        self._map = mmap.mmap(-1, _SLOTS_AT + slots * _SLOT.size)
        self._high = 0
        self._count = 0

    def reset(self) -> None:
        """For the next process in this place."""
        (high,) = _WORD.unpack_from(self._map, _HIGH_AT)
        ringed = 8 * min(_RING, _LONG.unpack_from(self._map, _COUNT_AT)[0])
        for start, size in ((0, _RING_AT), (_RING_AT, ringed), (_SLOTS_AT, high * _SLOT.size)):
            self._map[start : start + size] = bytes(size)
        self._high = self._count = 0

    def detach(self) -> None:
        """In a process that a task forked: what it writes from now on concerns nobody."""
        self._map = mmap.mmap(-1, len(self._map))

    # ---- the worker's side

    def settle_in(self, pid: int) -> None:
        """This process works here; 0: nobody does, and its number may soon belong to a stranger."""
        _WORD.pack_into(self._map, _PID_AT, pid)
        self.beat()

    def enlist(self, incarnation: str) -> None:
        """A worker of this process has this name now."""
        names = [name for name in self.incarnations if name != incarnation]
        raw = "|".join([*names[-3:], incarnation]).encode()[:_NAMES]
        self._map[_NAMES_AT : _NAMES_AT + _NAMES] = raw.ljust(_NAMES, b"\0")

    def beat(self) -> None:
        """The loop is alive."""
        _DOUBLE.pack_into(self._map, _BEAT_AT, time.monotonic())

    def start(self, slot: int, id: str, deadline: float, again: float) -> bool:
        """A job starts, if it may; see ``Marks``."""
        raw = id.encode()
        if slot >= self._high:
            self._high = slot + 1
            _WORD.pack_into(self._map, _HIGH_AT, self._high)
        # One pack is one store for a reader of another process in all that matters: it reads after a
        # death, or far behind a deadline.
        _SLOT.pack_into(self._map, _SLOTS_AT + slot * _SLOT.size, 0.0, 0, deadline, again, len(raw), raw)
        count = self._count
        ring_at = _RING_AT + 8 * (count % _RING)
        _LONG.pack_into(self._map, ring_at, hash(id))
        # First it is written down, and then looked whether it may: the keeper does it the other way round.
        if self.is_relieved:
            _LONG.pack_into(self._map, ring_at, 0)
            self.clear(slot)
            return False
        self._count = count + 1
        _LONG.pack_into(self._map, _COUNT_AT, count + 1)
        return True

    def clear(self, slot: int) -> None:
        """User code of that slot has ended."""
        at = _SLOTS_AT + slot * _SLOT.size + _LENGTH_AT
        self._map[at : at + 2] = b"\0\0"

    def hurry(self, slot: int, id: str) -> None:
        """If this job still runs there it has to end now: it was cancelled.

        It may have ended meanwhile, in another thread; the next one in that slot is not meant. The keeper
        writes this too, for a loop that cannot.
        """
        at = _SLOTS_AT + slot * _SLOT.size
        if _HURRY.unpack_from(self._map, at)[1] != hash(id):
            _HURRY.pack_into(self._map, at, time.monotonic(), hash(id))

    # ---- the side of those who look

    @property
    def pid(self) -> int:
        return int(_WORD.unpack_from(self._map, _PID_AT)[0])

    @property
    def incarnations(self) -> list[str]:
        raw = self._map[_NAMES_AT : _NAMES_AT + _NAMES].rstrip(b"\0").decode("utf-8", "replace")
        return [name for name in raw.split("|") if name]

    @property
    def heartbeat(self) -> float:
        """When the loop last turned, on the monotonic clock."""
        return float(_DOUBLE.unpack_from(self._map, _BEAT_AT)[0])

    def started(self) -> list[Started]:
        """What is running, or was as the process died."""
        found = []
        (high,) = _WORD.unpack_from(self._map, _HIGH_AT)
        for slot in range(high):
            at = _SLOTS_AT + slot * _SLOT.size
            if self._map[at + _LENGTH_AT] or self._map[at + _LENGTH_AT + 1]:
                hurried, meant, deadline, again, length, raw = _SLOT.unpack_from(self._map, at)
                id = raw[:length].decode("utf-8", "replace")
                if hurried and meant == hash(id) and not 0 < deadline < hurried:
                    deadline, again = hurried, -1.0
                found.append(Started(slot, id, deadline, again))
        return found

    def overdue(self, now: float, tolerance: float) -> list[Started]:
        """Jobs that run although their limit passed this many seconds ago."""
        return [job for job in self.started() if job.deadline and now > job.deadline + tolerance]

    # ---- while the loop stands still
    #
    # The keeper takes back what has not started. It counts relief up, to an odd number while it is at it and
    # to an even one when it is done; nothing starts here until the worker, back in its loop, has noticed.

    @property
    def is_relieved(self) -> bool:
        """Whether nothing may start."""
        return self._map[_RELIEF_AT : _RELIEF_AT + 4] != self._map[_NOTICED_AT : _NOTICED_AT + 4]

    @property
    def relief(self) -> int:
        return int(_WORD.unpack_from(self._map, _RELIEF_AT)[0])

    @relief.setter
    def relief(self, count: int) -> None:
        _WORD.pack_into(self._map, _RELIEF_AT, count)

    def notice(self, relief: int) -> None:
        """The worker knows what was taken from it; jobs may start again."""
        _WORD.pack_into(self._map, _NOTICED_AT, relief)

    def recent(self) -> set[int]:
        """Hashes of the ids of the last jobs that were started, and so of all that may not be settled yet."""
        count = min(_RING, _LONG.unpack_from(self._map, _COUNT_AT)[0] + 1)
        return set(struct.unpack_from(f"={count}q", self._map, _RING_AT))

    # ---- the keeper's own page

    @property
    def buried(self) -> int:
        """How many of the deaths that it was told of the keeper has dealt with."""
        return int(_LONG.unpack_from(self._map, _BURIED_AT)[0])

    @buried.setter
    def buried(self, count: int) -> None:
        _LONG.pack_into(self._map, _BURIED_AT, count)
