"""Which refusals become lines of the audit: a flood of them is told in a few."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from .audit import AuditLine

__all__ = ["Refusals"]

#: Seconds without a refusal of its kind after which the next one counts as the first.
QUIET = 60.0
#: Lines within so many seconds at most, of whatever kind.
MOST = 60
_Kind = tuple[str, str, str, str]
_OTHERS: _Kind = ("", "", "", "")


class Refusals:
    """Collapses refusals of one kind, by who, from where, of which verb and why.

    The first one is a line, then the tenth, the hundredth and so on.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: By kind: when it came last, and how often since it was quiet.
        self._seen: dict[_Kind, tuple[float, int]] = {}
        #: When the last lines were written.
        self._lines: deque[float] = deque(maxlen=MOST)

    def admit(self, line: AuditLine) -> AuditLine | None:
        """The line to write for a refusal; None: those before it say enough."""
        now = self._clock()
        if len(self._seen) > MOST:
            self._seen = {kind: seen for kind, seen in self._seen.items() if now - seen[0] < QUIET}
        kind = (line.who, line.source, line.verb, line.said)
        is_full = len(self._lines) == MOST and now - self._lines[0] < QUIET
        if kind not in self._seen and is_full:
            # Who makes up new names for each request is told of as a whole.
            kind = _OTHERS
            said = "there were more refusals than lines"
            line = msgspec.structs.replace(line, who="(many)", source="(many)", verb="request", subject="", said=said)
        at, number = self._seen.get(kind, (now, 0))
        number = 1 if now - at >= QUIET else number + 1
        self._seen[kind] = (now, number)
        if not _is_power_of_ten(number):
            return None
        self._lines.append(now)
        if number == 1:
            return line
        joint = "; " if line.said else ""
        return msgspec.structs.replace(line, said=f"{line.said}{joint}{number:,} times by now")


def _is_power_of_ten(number: int) -> bool:
    return set(str(number)[1:]) <= {"0"} and str(number)[0] == "1"
