"""The judge of limits: how many runs were alive at once, and how many started in a time, as the ledger has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arena import Arena
    from .ledger import Attempt

__all__ = ["excess_of_rate", "most_at_once", "spans_of", "too_many"]

#: When a run began, and when it was over (monotonic).
Span = tuple[float, float]


def spans_of(arena: Arena, runs: Iterable[Attempt]) -> list[Span]:
    """When each run was alive. One whose process was killed ended no later than the kill, and perhaps before."""
    spans = []
    for run in runs:
        died = arena.deaths.before(run.pid, run.start) if run.end is None else run.end
        spans.append((run.start, float("inf") if died is None else died))
    return spans


def most_at_once(spans: Iterable[Span]) -> int:
    """How many were alive at the same time, at most."""
    return max((count for _, count in _counts(spans)), default=0)


def too_many(spans: Iterable[Span], most: int) -> list[float]:
    """The moments at which one began although so many were alive."""
    return [at for at, count in _counts(spans) if count > most]


def _counts(spans: Iterable[Span]) -> list[tuple[float, int]]:
    """How many are alive from the start of each on. Those that end at that very moment are gone."""
    steps = sorted((at, step) for began, ended in spans if ended > began for at, step in ((began, 1), (ended, -1)))
    counts, alive = [], 0
    for at, step in steps:
        alive += step
        if step > 0:
            counts.append((at, alive))
    return counts


def excess_of_rate(starts: Sequence[float], rate: float, burst: float, late: float) -> float:
    """By how many starts the worst of all windows of T seconds is above ``rate * (T + late) + burst``.

    Below zero: by how many every window is under it.

    Args:
        starts: moments in seconds.
        rate: starts per second.
        late: seconds within which a job starts once it may.
    """
    worst, least = float("-inf"), float("inf")
    for number, at in enumerate(sorted(starts)):
        # The window from start i to start j has j - i + 1 of them in starts[j] - starts[i] seconds.
        least = min(least, number - rate * at)
        worst = max(worst, number + 1 - rate * at - least)
    return worst - rate * late - burst
