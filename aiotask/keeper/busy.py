"""How many CPUs processes use: the CPU time of each, and what it was some seconds ago."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Busy"]

#: Seconds over which is averaged at least.
_LEAST = 4.0


class Busy:
    """Remembers the CPU time of processes.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: By pid: a moment and the CPU seconds then, and the number of CPUs that was told last.
        self._seen: dict[int, tuple[float, float, float]] = {}

    def of(self, pid: int, cpu: float) -> float:
        """The number of CPUs that a process has used on average since it was asked about 4 s ago or more; 0 at first.

        Args:
            cpu: seconds that it has used by now; fewer than before: another process has this pid.
        """
        now = self._clock()
        at, before, told = self._seen.get(pid, (now, cpu, 0.0))
        if pid in self._seen and cpu >= before:
            if now - at < _LEAST:
                return told
            told = round((cpu - before) / (now - at), 3)
        else:
            told = 0.0
        self._seen[pid] = (now, cpu, told)
        return told

    def keep(self, pids: set[int]) -> None:
        """Forget all other processes."""
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in pids}
