"""How aiotask stands to the others: ratios with their targets, and where it loses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .catalog import OURS
from .outcome import Outcome
from .workloads import FIGURES, Heading

__all__ = ["Ratio", "best_drain", "comparable", "losses", "missing", "number", "ratios"]

_PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "comparison.md"
_RUST = "ardiq"


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better than another queue aiotask is at something, and how many it is to be."""

    title: str
    ours: float
    theirs: float
    #: Whose figure that is.
    against: str
    unit: str
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        return self.ratio >= self.target


def best_drain(outcome: Outcome, peer: str, processes: int) -> float | None:
    """The drain of the kind of task that a peer is quicker with."""
    rates = [outcome.value(peer, f"drain_{kind}_{processes}") for kind in ("async", "sync")]
    return max((rate for rate in rates if rate is not None), default=None)


def comparable(outcome: Outcome, peer: str, name: str) -> float | None:
    """A figure that may be held against another one: a recovery that lost jobs was not one."""
    is_recovery = name.startswith(("one_", "all_")) and not name.endswith(("lost", "twice"))
    return None if is_recovery and outcome.value(peer, f"{name[:3]}_lost") else outcome.value(peer, name)


def ratios(outcome: Outcome) -> list[Ratio]:
    """Every ratio that has a target and that this run has both figures of."""
    others = [row.name for row in outcome.rows if row.name != OURS]
    slower = [name for name in others if name != _RUST]
    found: list[Ratio | None] = [
        _ratio(outcome, "send", [_RUST], "send", 3, True),
        _ratio(outcome, "send", slower, "send", 3, True),
    ]
    for processes in (1, 2):
        each = f"drain, {processes} process{'es' if processes > 1 else ''}, the quicker kind of task"
        for names, target in (([_RUST], 5), (slower, 20)):
            found.append(_ratio(outcome, each, names, processes, target, True))
    found += [
        _ratio(outcome, "round trips, 100 in flight", [_RUST], "trips", 5, True),
        _ratio(outcome, "round trips, 100 in flight", slower, "trips", 5, True),
        _ratio(outcome, "idle round trip, p50", others, "idle_p50", 2, False),
        _ratio(outcome, "CPU-bound, wall over bare processes", others, "cpu_bare", 1, False),
        _ratio(outcome, "CPU-bound, wall over half of the CPU time", others, "cpu_ideal", 1, False),
    ]
    for which, whom in (("one", "a worker"), ("all", "everything")):
        for name, what in (("p50", "the middle one"), ("max", "the last one")):
            title = f"kill {whom}: {what} of the interrupted jobs runs again"
            found.append(_ratio(outcome, title, others, f"{which}_{name}", 4, False))
    return [each for each in found if each is not None]


def _ratio(
    outcome: Outcome, title: str, names: list[str], figure: str | int, target: float, more: bool
) -> Ratio | None:
    """Against the best of these peers; a number in place of a figure's name is the drain of so many processes."""

    def value(peer: str) -> float | None:
        return best_drain(outcome, peer, figure) if isinstance(figure, int) else comparable(outcome, peer, figure)

    ours = value(OURS)
    theirs = {name: rate for name in names if (rate := value(name)) is not None}
    if ours is None or not theirs:
        return None
    pick: Callable[..., str] = max if more else min
    best = pick(theirs, key=theirs.__getitem__)
    ratio = ours / theirs[best] if more else theirs[best] / ours
    unit = "jobs/s" if isinstance(figure, int) else FIGURES[figure].unit
    against = next(row.title for row in outcome.rows if row.name == best)
    return Ratio(title, ours, theirs[best], against, unit, ratio, target)


def losses(outcome: Outcome) -> list[str]:
    """Sentences, one for each figure that somebody else is better at."""
    return [sentence for heading in FIGURES.values() if (sentence := _loss(outcome, heading))]


def _loss(outcome: Outcome, heading: Heading) -> str:
    ours = comparable(outcome, OURS, heading.name)
    if heading.more is None or ours is None:
        return ""
    better = [
        (value, row.title, _overlap(outcome, row.name, heading.name))
        for row in outcome.rows
        if (value := comparable(outcome, row.name, heading.name)) is not None
        and (value > ours if heading.more else value < ours)
    ]
    if not better:
        return ""
    better.sort(reverse=heading.more)
    told = [f"{title} {number(value)}{' (ranges overlap)' if near else ''}" for value, title, near in better]
    return f"{heading.title}: aiotask {number(ours)} {heading.unit}, {', '.join(told)}."


def _overlap(outcome: Outcome, peer: str, name: str) -> bool:
    ours, theirs = outcome.values(OURS, name), outcome.values(peer, name)
    return min(ours) <= max(theirs) and min(theirs) <= max(ours)


def missing() -> Iterator[str]:
    """What aiotask does not have, in the words of its own documentation."""
    page = _PAGE.read_text() if _PAGE.exists() else ""
    found = re.search(r"^## What aiotask does not have\n+(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found:
        yield " ".join(found[1].split())
    yield "The history of jobs is a SQLite file of each host, not a database that hosts share."


def number(value: float) -> str:
    """Three digits or so."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.095 or not size else f"{value:.3f}"
