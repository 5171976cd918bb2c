"""A clock for stores of the memory broker that the test turns."""

from __future__ import annotations

import dataclasses

__all__ = ["TurnedClock"]


@dataclasses.dataclass
class TurnedClock:
    """Stands still until it is turned."""

    now: float = 1_000_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds
