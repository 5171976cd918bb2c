"""The board: one shared page per worker, on which it writes down what it is doing.

The page outlives the process, so supervisor and keeper read, after its death or while a job holds the GIL,
which jobs were running, until when, and whether the loop was alive.
"""

from __future__ import annotations

import mmap
import struct
import time

from ..worker.run import Budget
from .metrics_page import MetricsPage

__all__ = ["HEARTBEAT_INTERVAL", "SharedBoard", "Started", "unpack_ring"]

#: Seconds between two heartbeats of a worker's loop.
HEARTBEAT_INTERVAL = 0.25

#: Bytes of an id: 200 characters.
_ID = 800
_NAMES_AT, _NAMES = 64, 900
# The last jobs that were started, as hashes: far more than a worker ever holds unsettled.
_RING_AT, _RING = 1024, 4096
_SLOTS_AT = _RING_AT + 8 * _RING
# Other processes read while this one writes. A number is one store through a view of the page. Struct.pack_into clears
# its bytes first: a reader would see a 0 now and then, and take a loop that is alive for a silent one. The last one of
# packed fields says whether the others hold, and they are read until two looks agree.
#
# Deadline of a cancel (monotonic s), hash of the id that it is for; deadline (0: none), s until a retry
# (-1: fail), start, hash of the task's name, id, length of the id.
_SLOT = struct.Struct(f"@dqdddq{_ID}sH")
_HURRY = struct.Struct("@dq")
_LENGTH_AT = _SLOT.size - 2
# Behind each slot, for a job with limits: what ``Budget`` holds, and the hash of its id.
_LIMITS_AT = -(-_SLOT.size // 8) * 8
_LIMITS = struct.Struct("@qdddddddq")
_STRIDE = -(-(_LIMITS_AT + _LIMITS.size) // 64) * 64
# The head, as numbers of the views on it: doubles, words of 4 bytes, longs of 8.
_BEAT = 0
_PID, _HIGH, _RELIEF, _NOTICED, _ALONE = 2, 3, 4, 5, 12
_BURIED, _COUNT, _STEP = 3, 4, 5
_HEAD = 64
#: Beside the length of an id: the job waits for another one. More than any length.
_AWAY = 0x8000
#: Looks at packed bytes of which two have to agree.
_LOOKS = 8


class Started:
    """A job that has started and whose user code has not ended; times on the monotonic clock."""

    __slots__ = ("again", "away", "cancelled", "deadline", "id", "limits", "since", "slot", "task")

    def __init__(
        self,
        slot: int,
        id: str,
        deadline: float,
        again: float,
        since: float = 0.0,
        task: int = 0,
        limits: Budget | None = None,
        away: bool = False,
        cancelled: bool = False,
    ) -> None:
        self.slot = slot
        self.id = id
        self.deadline = deadline
        self.again = again
        self.since = since
        #: Hash of the task's name.
        self.task = task
        #: What the job may use beside time; None: it has no such limits.
        self.limits = limits
        #: Whether the job waits for the outcome of another one.
        self.away = away
        #: Whether the deadline is that of a cancel.
        self.cancelled = cancelled


class SharedBoard:
    """The page of one worker process, made before the fork.

    Hashes of ids mean the same to all who read a board: they are forks of one process.

    Args:
        slots: jobs that can run at a time. Pages of slots that are never used cost nothing, so the
            ones that are used always should come first.
        cell: where the process group is noted for those who look after the death of all; see ``Presence``.
    """

    def __init__(self, slots: int, cell: memoryview | None = None) -> None:
        self._cell = cell
        self._lay_out(_SLOTS_AT + slots * _STRIDE)
        #: What the processes that use this board count of their jobs.
        self.metrics = MetricsPage()
        self._high = 0
        self._count = 0

    def _lay_out(self, size: int) -> None:
        self._map = mmap.mmap(-1, size)
        page = memoryview(self._map)
        head = page[:_HEAD]
        self._doubles: memoryview[float] = head.cast("d")
        self._words: memoryview[int] = head.cast("I")
        self._longs: memoryview[int] = head.cast("q")
        #: Number 0: the slot, counted from 1, of the async job whose code the loop ran last.
        self.steps = self._longs[_STEP : _STEP + 1]
        self._ring = page[_RING_AT : _RING_AT + 8 * _RING].cast("q")
        #: By ``_length_of``.
        self._lengths = page.cast("H")

    def reset(self) -> None:
        """Clear the page for the next process that uses it."""
        high, ringed = self._words[_HIGH], 8 * min(_RING, self._longs[_COUNT])
        for start, size in ((0, _RING_AT), (_RING_AT, ringed), (_SLOTS_AT, high * _STRIDE)):
            self._map[start : start + size] = bytes(size)
        self._high = self._count = 0

    def detach(self) -> None:
        """In a process that a task has forked: write into a page of its own from now on, which no process reads."""
        self._cell = None
        self._lay_out(len(self._map))
        self.metrics.detach()

    # ---- the worker's side

    def settle_in(self, pid: int) -> None:
        """This process uses the page; 0: none does, and the last one's number may soon be another program's."""
        self._words[_PID] = pid
        if self._cell is not None:
            self._cell[0] = pid
        self.beat()

    def enlist(self, incarnation: str) -> None:
        """A worker of this process has this name now."""
        names = [name for name in self.incarnations if name != incarnation]
        raw = "|".join([*names[-3:], incarnation]).encode()[:_NAMES]
        self._map[_NAMES_AT : _NAMES_AT + _NAMES] = raw.ljust(_NAMES, b"\0")

    def beat(self) -> None:
        """The loop is alive."""
        self._doubles[_BEAT] = time.monotonic()

    def start(self, slot: int, id: str, deadline: float, again: float, now: float = 0.0, task: str = "") -> bool:
        """Record that a job starts; False: the job must not start. See ``worker.run.Board``."""
        raw = id.encode()
        if slot >= self._high:
            self._high = slot + 1
            self._words[_HIGH] = self._high
        at = _SLOTS_AT + slot * _STRIDE
        _SLOT.pack_into(self._map, at, 0.0, 0, deadline, again, now, hash(task), raw, len(raw))
        count, ring, words = self._count, self._ring, self._words
        ring[count % _RING] = hash(id)
        # First the start is written down, and then checked whether it may be: the keeper does both the other way round.
        if words[_RELIEF] != words[_NOTICED]:
            ring[count % _RING] = 0
            self.clear(slot)
            return False
        self._count = self._longs[_COUNT] = count + 1
        return True

    def limit(self, slot: int, id: str, budget: Budget) -> None:
        """Record what the job that has just started in this slot may use."""
        _LIMITS.pack_into(self._map, _SLOTS_AT + slot * _STRIDE + _LIMITS_AT, *budget, hash(id))

    def clear(self, slot: int) -> None:
        """Record that the user code of this slot has ended."""
        self._lengths[_length_of(slot)] = 0

    def set_away(self, slot: int, away: bool) -> None:
        """Record that the job of this slot waits for the outcome of another one, or that it goes on."""
        number = _length_of(slot)
        if length := self._lengths[number] & ~_AWAY:
            self._lengths[number] = length | _AWAY if away else length

    def set_alone(self, alone: bool) -> None:
        """A suspect runs, beside jobs that wait at most; or that is over."""
        self._words[_ALONE] = alone

    def hurry(self, slot: int, id: str) -> None:
        """End this job, which was cancelled, if it still runs in this slot.

        It may have ended meanwhile, in another thread; the next one in that slot is not meant. The keeper
        writes this too, for a loop that cannot.
        """
        at = _SLOTS_AT + slot * _STRIDE
        if _HURRY.unpack_from(self._map, at)[1] != hash(id):
            _HURRY.pack_into(self._map, at, time.monotonic(), hash(id))

    # ---- the readers' side

    def _read(self, at: int, size: int) -> bytes:
        """These bytes as they were while nothing was written there."""
        last, looks = self._map[at : at + size], 1
        while (now := self._map[at : at + size]) != last and looks < _LOOKS:
            last, looks = now, looks + 1
        return now

    @property
    def pid(self) -> int:
        return self._words[_PID]

    @property
    def incarnations(self) -> list[str]:
        raw = self._read(_NAMES_AT, _NAMES).rstrip(b"\0").decode("utf-8", "replace")
        return [name for name in raw.split("|") if name]

    @property
    def heartbeat(self) -> float:
        """When the loop last turned, on the monotonic clock."""
        return self._doubles[_BEAT]

    @property
    def starts(self) -> int:
        """How many jobs this process has started."""
        return self._longs[_COUNT]

    @property
    def is_alone(self) -> bool:
        """Whether a suspect runs with no other job beside it."""
        return bool(self._words[_ALONE])

    def started(self) -> list[Started]:
        """What is running, or was as the process died."""
        found = []
        for slot in range(self._words[_HIGH]):
            if not self._lengths[_length_of(slot)]:
                continue
            packed = self._read(_SLOTS_AT + slot * _STRIDE, _STRIDE)
            hurried, meant, deadline, again, since, task, raw, length = _SLOT.unpack_from(packed)
            if length:
                id = raw[: length & ~_AWAY].decode("utf-8", "replace")
                if cancelled := bool(hurried) and meant == hash(id) and not 0 < deadline < hurried:
                    deadline, again = hurried, -1.0
                *limits, whose = _LIMITS.unpack_from(packed, _LIMITS_AT)
                of_it = Budget(*limits) if whose == hash(id) else None
                found.append(Started(slot, id, deadline, again, since, task, of_it, bool(length & _AWAY), cancelled))
        return found

    @property
    def stepping(self) -> int:
        """The slot of the async job whose code the loop runs, or ran last; -1: there was none."""
        return self._longs[_STEP] - 1

    # ---- while the loop stands still
    #
    # The keeper takes back jobs that have not started. It counts ``relief`` up, to an odd number before and to an even
    # one after that; no job starts here until the worker, back in its loop, has noticed.

    @property
    def is_relieved(self) -> bool:
        """Whether nothing may start."""
        return self._words[_RELIEF] != self._words[_NOTICED]

    @property
    def relief(self) -> int:
        return self._words[_RELIEF]

    @relief.setter
    def relief(self, count: int) -> None:
        self._words[_RELIEF] = count

    def notice(self, relief: int) -> None:
        """The worker knows what the keeper has taken back; jobs may start again."""
        self._words[_NOTICED] = relief

    def recent(self) -> frozenset[int]:
        """Hashes of the ids of the last jobs that were started, and so of all that may not be settled yet."""
        return unpack_ring(self.ring())

    def ring(self) -> bytes:
        """The same hashes as bytes; see ``unpack_ring``."""
        count = min(_RING, self._longs[_COUNT] + 1)
        return self._map[_RING_AT : _RING_AT + 8 * count]

    # ---- the keeper's own page

    @property
    def handled_deaths(self) -> int:
        """How many of the deaths that it was sent the keeper has handled."""
        return self._longs[_BURIED]

    @handled_deaths.setter
    def handled_deaths(self, count: int) -> None:
        self._longs[_BURIED] = count


def _length_of(slot: int) -> int:
    """The number, in the view on lengths, of the length of a slot's id; 0: no job runs there."""
    return (_SLOTS_AT + slot * _STRIDE + _LENGTH_AT) // 2


def unpack_ring(packed: bytes) -> frozenset[int]:
    """The hashes that a ``SharedBoard.ring`` holds, without the empty cells."""
    return frozenset(struct.unpack(f"={len(packed) // 8}q", packed)) - {0}
