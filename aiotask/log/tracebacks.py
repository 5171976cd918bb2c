"""Chooses the tracebacks to log: each in full once per interval, however often runs fail in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .format import shortened

__all__ = ["LeftOut", "Tracebacks"]

#: Seconds for which the same traceback is not shown again.
APART = 10.0
#: Tracebacks of all kinds shown per second, and tracebacks that are remembered.
PER_SECOND = 10
REMEMBERED = 256


@dataclass(slots=True)
class LeftOut:
    """A traceback that was shown, and how many like it were left out since."""

    id: str
    task: str
    error: str
    shown: float
    count: int = 0


class Tracebacks:
    """Remembers the tracebacks that were shown. Two are alike if task, event, class of the error and lines of code are
    the same."""

    def __init__(self) -> None:
        self._known: dict[int, LeftOut] = {}
        self._since = 0.0
        self._room = PER_SECOND

    def __bool__(self) -> bool:
        return bool(self._known)

    def facts(self, now: float, id: str, task: str, event: str, error: str, traceback: str) -> dict[str, Any]:
        """The traceback, or the id of the job with which it was logged.

        Args:
            now: seconds on the monotonic clock.
            id: of the job.
            event: what became of the run; the failure after the last retry is shown again.
            error: name of the error's class.
        """
        if now - self._since >= 1.0:
            self._since, self._room = now, PER_SECOND
        place = (line for line in traceback.splitlines() if line.startswith('  File "'))
        key = hash((task, event, error, *place))
        known = self._known.get(key)
        if known is not None and (now - known.shown < APART or self._room <= 0):
            known.count += 1
            return {"traceback_of": known.id}
        if self._room <= 0:
            return {"traceback_left_out": True}
        self._room -= 1
        facts: dict[str, Any] = {"traceback": shortened(traceback.rstrip())}
        if known is not None and known.count:
            facts["tracebacks_left_out"] = known.count
        if known is None and len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = LeftOut(id, task, error, now)
        return facts

    def left_out(self, now: float | None) -> list[LeftOut]:
        """Forget the tracebacks that may be shown again (None: all); returns those of which some were left out."""
        due = {key: each for key, each in self._known.items() if now is None or now - each.shown >= APART}
        for key in due:
            del self._known[key]
        return [each for each in due.values() if each.count]
