"""What a measurement is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .progress import Bar
from .server import Server

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The server to measure against, how many jobs for a rate, and how often."""

    server: Server
    jobs: int
    reps: int
    #: Seconds of a long job, where short ones stand beside it.
    long: float = 2.0
    #: The most jobs that ``scale`` lets wait.
    scale_max: int = 5_000_000
    bar: Bar = field(default_factory=lambda: Bar(""))
    #: What is to be said below the table.
    notes: list[str] = field(default_factory=list)

    def scaled(self, size: int, least: int = 1) -> int:
        """A size that is meant for 40,000 jobs, made smaller where there are fewer."""
        return max(least, round(size * min(1.0, self.jobs / 40_000)))

    def rounds(self) -> Iterator[int]:
        """The number of each repetition, while the bar goes on."""
        for n in range(self.reps):
            yield n
            self.bar.step()
