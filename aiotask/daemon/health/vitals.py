"""The page on which supervisor and keeper show each other that they are at work."""

from __future__ import annotations

import mmap
import os
import time
from typing import NamedTuple

from ...values.report import EXITS

__all__ = ["Drain", "Vitals"]

# The supervisor's line: beat (monotonic s); pid, processes wanted, in service, flags. The keeper's line: when it last
# judged (monotonic s; 0: never), whether all is alive. Then how many worker processes have ended, by reason. Each
# number is one store through a view: see ``SharedBoard``. Then since when the host is drained (Unix s; 0: it is not)
# and, written before that, by whom.
_TURNED, _JUDGED = 0, 8
_PID, _WANTED, _IN_SERVICE, _FLAGS, _IS_LIVE = 2, 3, 4, 5, 18
_STOPPING, _COMPLETE = 1, 2
_EXITS_AT = 16
_DRAINED, _BY_AT, _BY = 32, 264, 400


class Drain(NamedTuple):
    """A host takes no new jobs: since when (Unix seconds, by the broker's clock), and who wants so."""

    at: float
    by: str


class Vitals:
    """One supervisor's page, made before any fork. The supervisor writes the turn, its keeper the verdict."""

    def __init__(self) -> None:
        page = memoryview(mmap.mmap(-1, _BY_AT + _BY))
        self._by = page[_BY_AT : _BY_AT + _BY]
        self._doubles, self._words = page.cast("d"), page.cast("I")
        self._longs: memoryview[int] = page.cast("q")
        self.turn(0, 0, stopping=False, complete=False)

    # ---- the supervisor's part

    def turn(self, wanted: int, in_service: int, *, stopping: bool, complete: bool) -> None:
        """The loop of the supervisor has turned once more.

        Args:
            complete: all wanted processes have been in service at a time.
        """
        self._words[_PID] = os.getpid()
        self._words[_WANTED], self._words[_IN_SERVICE] = wanted, in_service
        self._words[_FLAGS] = _STOPPING * stopping | _COMPLETE * complete
        self._doubles[_TURNED] = time.monotonic()

    @property
    def turned(self) -> float:
        """When the loop of the supervisor last turned (monotonic seconds)."""
        return self._doubles[_TURNED]

    @property
    def pid(self) -> int:
        return self._words[_PID]

    @property
    def processes(self) -> tuple[int, int]:
        """Wanted, in service."""
        return self._words[_WANTED], self._words[_IN_SERVICE]

    @property
    def stopping(self) -> bool:
        return bool(self._words[_FLAGS] & _STOPPING)

    @property
    def complete(self) -> bool:
        return bool(self._words[_FLAGS] & _COMPLETE)

    def ended(self, reason: str) -> None:
        """A worker process has ended, for one of ``EXITS``."""
        self._longs[_EXITS_AT + EXITS.index(reason)] += 1

    @property
    def exits(self) -> dict[str, int]:
        """How many worker processes have ended, by reason."""
        numbers = ((reason, self._longs[_EXITS_AT + n]) for n, reason in enumerate(EXITS))
        return {reason: number for reason, number in numbers if number}

    def drain(self, drain: Drain | None) -> None:
        """The host takes no new jobs from now on; None: it takes them again."""
        if drain is not None:
            raw = drain.by.encode("utf-8", "replace")[:_BY]
            self._by[:] = raw.ljust(_BY, b"\0")
        self._doubles[_DRAINED] = 0.0 if drain is None else drain.at

    def is_drained(self) -> bool:
        """Whether the host takes no new jobs."""
        return self._doubles[_DRAINED] > 0.0

    @property
    def drained(self) -> Drain | None:
        """Since when the host takes no new jobs, and by whose wish."""
        at = self._doubles[_DRAINED]
        return Drain(at, bytes(self._by).rstrip(b"\0").decode("utf-8", "replace")) if at else None

    # ---- the keeper's part

    def judge(self, live: bool) -> None:
        """Write the verdict of a keeper that has looked at all processes."""
        self._words[_IS_LIVE] = live
        self._doubles[_JUDGED] = time.monotonic()

    @property
    def judged(self) -> tuple[float, bool]:
        """When a keeper last judged (monotonic seconds; 0.0: never), and whether all is alive."""
        return self._doubles[_JUDGED], bool(self._words[_IS_LIVE])
