"""What a bulk action has done so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Done"]


@dataclass
class Done:
    """What became of the jobs so far.

    Attributes:
        done: how many jobs the action was done with; ``asked``: how many of them run until their workers end them.
        skipped: how many jobs were left as they are, by the reason.
    """

    done: int = 0
    asked: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        return self.done + self.skipped.total()

    def skip(self, reason: str, number: int = 1) -> None:
        if number:
            self.skipped[reason] += number
