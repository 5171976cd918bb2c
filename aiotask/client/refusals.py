"""Why jobs were not sent, kept for callers that ask later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["Refusals"]

#: Refused jobs whose reason is kept: those of whole batches as one, and single ones.
_BATCHES, _SINGLE = 1_000, 100_000


class Refusals:
    """The errors of refused jobs by ticket; the oldest make room."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int, Exception]] = deque(maxlen=_BATCHES)
        self._single: dict[int, Exception] = {}

    def add_batch(self, first: int, last: int, error: Exception) -> None:
        """All jobs from one ticket to another were refused."""
        self._batches.append((first, last, error))

    def add(self, errors: Iterable[tuple[int, Exception]]) -> None:
        """Single jobs were refused."""
        self._single.update(errors)
        while len(self._single) > _SINGLE:
            del self._single[next(iter(self._single))]

    def of(self, ticket: int) -> Exception | None:
        """Why the job with this ticket was refused; None: it was not, or that was long ago."""
        if self._single and (error := self._single.get(ticket)) is not None:
            return error
        for first, last, error in self._batches:
            if first <= ticket <= last:
                return error
        return None
