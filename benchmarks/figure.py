"""One measured figure and the goal it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Failed", "Figure", "percentile"]


class Failed(Exception):
    """A measurement that gives no figures, and why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Repetitions of one measurement, and its goal if it has one."""

    work: str
    name: str
    unit: str
    values: Sequence[float]
    goal: float | None = None
    #: More is better (rates, efficiency), or less (times, sizes).
    more: bool = True
    #: What the server did with its file.
    fsync: str = field(default="no", kw_only=True)
    #: One point of a series: how many jobs (or workers) there were.
    at: int | None = field(default=None, kw_only=True)

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the value is at the goal or better; None where there is no goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more else self.value <= self.goal


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
