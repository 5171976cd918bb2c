"""What really ran, read from the marks of the tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .bodies import COUNT, RECORD

__all__ = ["Count", "Ledger", "count", "ends", "read"]


@dataclass(frozen=True, slots=True)
class Count:
    """Runs of no-op tasks in all processes."""

    runs: int
    first: float
    last: float
    processes: int

    @property
    def rate(self) -> float:
        """Runs per second between the first and the last one."""
        return (self.runs - 1) / (self.last - self.first) if self.last > self.first else float("nan")


def count(marks: Path) -> Count:
    """The account of the mapped files."""
    rows = [COUNT.unpack(data) for path in marks.glob("*.count") if len(data := path.read_bytes()) == COUNT.size]
    rows = [row for row in rows if row[0]]
    if not rows:
        return Count(0, 0.0, 0.0, 0)
    runs, first, last = zip(*rows, strict=True)
    return Count(round(sum(runs)), min(first), max(last), len(rows))


@dataclass(slots=True)
class Ledger:
    """Every start and every end, by process."""

    #: (job, pid, wall time), in no order.
    starts: list[tuple[int, int, float]] = field(default_factory=list)
    #: (job, pid, wall time, CPU seconds).
    ends: list[tuple[int, int, float, float]] = field(default_factory=list)

    def open(self, pid: int) -> set[int]:
        """Jobs that this process has begun and not ended."""
        begun = [job for job, who, _ in self.starts if who == pid]
        for job, who, _, _ in self.ends:
            if who == pid:
                begun.remove(job)
        return set(begun)

    def pids(self) -> list[int]:
        """Processes that have run jobs, the one that began one last in front."""
        latest: dict[int, float] = {}
        for _, pid, at in self.starts:
            latest[pid] = max(at, latest.get(pid, 0.0))
        return sorted(latest, key=lambda pid: -latest[pid])


def read(marks: Path) -> Ledger:
    """All records; one that is being written is left for the next time."""
    ledger = Ledger()
    for path in marks.glob("*.log"):
        pid, data = int(path.stem), path.read_bytes()
        for job, end, at, cpu in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]):
            if end:
                ledger.ends.append((job, pid, at, cpu))
            else:
                ledger.starts.append((job, pid, at))
    return ledger


def ends(marks: Path) -> int:
    """About how many jobs have ended, from sizes alone: half of the records."""
    return sum(path.stat().st_size for path in marks.glob("*.log")) // (2 * RECORD.size)
