"""Everything that a run has found out; also its JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .catalog import PEERS, PINNED

__all__ = ["Failure", "Outcome", "Row"]

#: Counts of what must not happen: the worst repetition stands, not the middle one.
_WORST = ("lost", "twice")


class Failure(NamedTuple):
    """A run that gave no figure, and why."""

    peer: str
    workload: str
    repetition: int
    reason: str


class Row(NamedTuple):
    """One peer as it was measured."""

    name: str
    title: str
    release: str
    python: str


@dataclass(slots=True)
class Outcome:
    """Figures of all repetitions by peer and name, with what they depend on."""

    about: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    #: Peers that could not be installed, and why.
    skipped: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, peer: str, figures: dict[str, float]) -> None:
        """Take the figures of one repetition."""
        for name, value in figures.items():
            self.figures.setdefault(peer, {}).setdefault(name, []).append(value)

    def values(self, peer: str, name: str) -> list[float]:
        return self.figures.get(peer, {}).get(name, [])

    def value(self, peer: str, name: str) -> float | None:
        """The median of the repetitions; of a count of losses the largest; None where there is no figure."""
        values = self.values(peer, name)
        if not values:
            return None
        return max(values) if name.endswith(_WORST) else statistics.median(values)

    def reasons(self, peer: str, workload: str) -> list[str]:
        """Why repetitions of a workload failed, each reason once."""
        return list(dict.fromkeys(each.reason for each in self.failures if each[:2] == (peer, workload)))

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        peers = [PEERS[row.name] for row in self.rows]
        settings = {each.name: {"all": each.settings, "cpu": each.cpu, "recovery": each.recovery} for each in peers}
        data = {
            "about": {**self.about, "versions_of": PINNED},
            "peers": [row._asdict() for row in self.rows],
            "settings": settings,
            "skipped": self.skipped,
            "figures": self.figures,
            "failures": [each._asdict() for each in self.failures],
        }
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """What an earlier run has written."""
        data = json.loads(path.read_text())
        return cls(
            data["about"],
            [Row(**row) for row in data["peers"]],
            data["skipped"],
            data["figures"],
            [Failure(**each) for each in data["failures"]],
        )
