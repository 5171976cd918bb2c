"""The errors of jobs that were not sent, kept for callers that await them later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["Refusals"]

#: Errors that are kept at most: those of whole batches, and those of single jobs.
_BATCHES, _SINGLE = 1_000, 100_000


class Refusals:
    """The errors of refused jobs by ticket; the oldest are dropped."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int, Exception]] = deque(maxlen=_BATCHES)
        self._single: dict[int, Exception] = {}

    def add_batch(self, first: int, last: int, error: Exception) -> None:
        """Keep the error of all jobs from ticket ``first`` to ``last``."""
        self._batches.append((first, last, error))

    def add(self, errors: Iterable[tuple[int, Exception]]) -> None:
        """Keep the errors of single jobs, given with their tickets."""
        self._single.update(errors)
        while len(self._single) > _SINGLE:
            del self._single[next(iter(self._single))]

    def of(self, ticket: int) -> Exception | None:
        """The error of the job with this ticket; None: it was not refused, or its error is no longer kept."""
        if self._single and (error := self._single.get(ticket)) is not None:
            return error
        for first, last, error in self._batches:
            if first <= ticket <= last:
                return error
        return None
