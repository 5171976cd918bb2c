"""What workers count of their jobs: counters and histograms that add up over processes, hosts and time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import IntEnum

__all__ = ["BUCKETS", "EDGES", "Counts", "Slot", "Table", "bucket_of", "slot_of"]

#: Upper edges of the buckets of a histogram in seconds: 1 ms times a power of 1.5 up to 57 s, then 2, 5, 15 and 60
#: minutes. They are on the server and in pages of running processes, so they never change.
EDGES: tuple[float, ...] = (*(0.001 * 1.5**power for power in range(28)), 120.0, 300.0, 900.0, 3600.0)
#: The first bucket is below the first edge, the last one beyond the last edge.
BUCKETS = len(EDGES) + 1
#: Buckets below this one are as wide as their neighbours say: each edge is 1.5 times the one before.
_EVEN = 28
#: Where in such a bucket a percentile is at least and at most, in parts of its lower edge: never 25 % off.
_LOW, _WIDTH = 1.125, 0.125


class Slot(IntEnum):
    """What a number counts. The values are on the server and in pages of running processes; 1 is left out, so that no
    map of slots looks like an array."""

    #: Runs by how they ended; of a queue the waits that were measured.
    SUCCEEDED = 2
    FAILED = 3
    RETRIED = 4
    CANCELLED = 5
    #: Jobs that ended without a run, since they had expired.
    EXPIRED = 6
    #: Those of the runs that went beyond their time limit.
    TIMED_OUT = 7
    #: Runs that ended no job: they returned Refs, so that the job goes on, or the job had ended elsewhere.
    REFERRED = 8
    #: Those of the ends above that came without a run.
    UNSTARTED = 9
    #: Microseconds: CPU of runs of 1 ms and more; their duration, or that of waits.
    CPU = 10
    TIME = 11


#: The slot of the first bucket, which no page counts: it is what the others leave.
_FIRST = 32


def bucket_of(seconds: float) -> int:
    """The bucket of a duration."""
    return bisect_right(EDGES, seconds)


def slot_of(bucket: int) -> int:
    """The slot of a bucket other than the first."""
    return _FIRST + bucket


#: Numbers by slot, by name: of a task or a queue.
Table = dict[str, dict[int, int]]


class Counts:
    """The numbers of one task or queue, from any number of processes, hosts and minutes.

    Args:
        slots: numbers by slot.
    """

    def __init__(self, slots: Mapping[int, int] | None = None) -> None:
        self.slots = dict(slots or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.slots == other.slots

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Counts({self.slots})"

    def __add__(self, other: Counts) -> Counts:
        found = dict(self.slots)
        for slot, number in other.slots.items():
            found[slot] = found.get(slot, 0) + number
        return Counts(found)

    def __sub__(self, other: Counts) -> Counts:
        found = {slot: number - other.slots.get(slot, 0) for slot, number in self.slots.items()}
        return Counts({slot: number for slot, number in found.items() if number})

    @staticmethod
    def sum(every: Iterable[Counts]) -> Counts:
        """All of them together."""
        found: dict[int, int] = {}
        for each in every:
            for slot, number in each.slots.items():
                found[slot] = found.get(slot, 0) + number
        return Counts(found)

    def of(self, slot: Slot) -> int:
        return self.slots.get(slot, 0)

    @property
    def ended(self) -> int:
        """Runs and jobs that ended well, failed, or were cancelled, and jobs that expired."""
        return sum(map(self.of, (Slot.SUCCEEDED, Slot.FAILED, Slot.CANCELLED, Slot.EXPIRED)))

    @property
    def runs(self) -> int:
        """Runs, whatever came of them; of a queue waits."""
        return max(0, self.ended + self.of(Slot.RETRIED) + self.of(Slot.REFERRED) - self.of(Slot.UNSTARTED))

    @property
    def cpu(self) -> float:
        """CPU seconds of runs of 1 ms and more."""
        return self.of(Slot.CPU) / 1e6

    @property
    def time(self) -> float:
        """Seconds that runs of 1 ms and more took in all, or waits."""
        return self.of(Slot.TIME) / 1e6

    @property
    def histogram(self) -> list[int]:
        """How many runs, or waits, each bucket has."""
        most = [self.slots.get(slot_of(bucket), 0) for bucket in range(1, BUCKETS)]
        return [max(0, self.runs - sum(most)), *most]

    def percentile(self, share: float) -> float | None:
        """The seconds that this share (0 to 1) of the runs took at most, within 25 % up to a minute.

        None: there was no run."""
        histogram = self.histogram
        total = sum(histogram)
        if not total:
            return None
        left = share * total
        for bucket, number in enumerate(histogram):
            if number and left <= number:
                return _within(bucket, max(0.0, left / number))
            left -= number
        return EDGES[-1]


def _within(bucket: int, part: float) -> float:
    """The seconds at this part of a bucket."""
    if bucket == 0:
        return EDGES[0] * part
    if bucket < _EVEN:
        return EDGES[bucket - 1] * (_LOW + _WIDTH * part)
    if bucket == BUCKETS - 1:
        return EDGES[-1]
    return EDGES[bucket - 1] + (EDGES[bucket] - EDGES[bucket - 1]) * part
