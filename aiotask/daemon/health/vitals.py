"""The page on which supervisor and keeper show each other that they are at work."""

from __future__ import annotations

import mmap
import os
import struct
import time

__all__ = ["Vitals"]

# Beat (monotonic s), pid, processes wanted, in service, flags.
_TURN_AT, _TURN = 0, struct.Struct("=dIIII")
_STOPPING, _COMPLETE = 1, 2
# When the keeper last judged (monotonic s; 0: never), whether all is alive.
_VERDICT_AT, _VERDICT = 64, struct.Struct("=dI")


class Vitals:
    """One supervisor's page, made before any fork. The supervisor writes the turn, its keeper the verdict."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 128)
        self.turn(0, 0, stopping=False, complete=False)

    # ---- the supervisor's part

    def turn(self, wanted: int, in_service: int, *, stopping: bool, complete: bool) -> None:
        """The loop of the supervisor has turned once more.

        Args:
            complete: all wanted processes have been in service at a time.
        """
        flags = _STOPPING * stopping | _COMPLETE * complete
        _TURN.pack_into(self._map, _TURN_AT, time.monotonic(), os.getpid(), wanted, in_service, flags)

    @property
    def turned(self) -> float:
        """When the loop of the supervisor last turned (monotonic seconds)."""
        return float(_TURN.unpack_from(self._map, _TURN_AT)[0])

    @property
    def pid(self) -> int:
        return int(_TURN.unpack_from(self._map, _TURN_AT)[1])

    @property
    def processes(self) -> tuple[int, int]:
        """Wanted, in service."""
        _, _, wanted, in_service, _ = _TURN.unpack_from(self._map, _TURN_AT)
        return wanted, in_service

    @property
    def stopping(self) -> bool:
        return bool(_TURN.unpack_from(self._map, _TURN_AT)[4] & _STOPPING)

    @property
    def complete(self) -> bool:
        return bool(_TURN.unpack_from(self._map, _TURN_AT)[4] & _COMPLETE)

    # ---- the keeper's part

    def judge(self, live: bool) -> None:
        """Write the verdict of a keeper that has looked at all processes."""
        _VERDICT.pack_into(self._map, _VERDICT_AT, time.monotonic(), live)

    @property
    def judged(self) -> tuple[float, bool]:
        """When a keeper last judged (monotonic seconds; 0.0: never), and whether all is alive."""
        at, live = _VERDICT.unpack_from(self._map, _VERDICT_AT)
        return at, bool(live)
