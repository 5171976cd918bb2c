"""How often jobs were caught in the end of a process by a signal from outside."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from ..board import Started
from .blame import End

__all__ = ["SignalCounts"]

#: Jobs that are remembered, those that were caught last.
_REMEMBERED = 1000


class SignalCounts:
    """Counts, by job id, the ends by a signal from outside that a job was caught in."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, end: End, started: Collection[Started]) -> Mapping[str, int]:
        """One more for each of these jobs, if this end is one from outside; the counts of all."""
        for job in started if end.is_from_outside else ():
            self._counts[job.id] = self._counts.pop(job.id, 0) + 1
        while len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return self._counts
