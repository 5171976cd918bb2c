"""One measured figure and the goal it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Figure", "percentile"]


@dataclass(frozen=True, slots=True)
class Figure:
    """Repetitions of one measurement, with its goal and half of it (twice the time, the size, the loss)."""

    work: str
    name: str
    unit: str
    values: Sequence[float]
    goal: float | None = None
    half: float | None = None
    #: More is better (rates, efficiency), or less (times, sizes).
    more: bool = True
    #: What the server did with its file.
    fsync: str = field(default="no", kw_only=True)

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def reaches(self, mark: float | None) -> bool | None:
        """Whether the value is at the mark or better; None where there is no mark."""
        if mark is None:
            return None
        return self.value >= mark if self.more else self.value <= mark


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
