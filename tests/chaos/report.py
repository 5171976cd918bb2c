"""What a trial found, and how it is shown: on a console, and as a table in Markdown."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from typing import Any

__all__ = ["FINDINGS", "Report", "headline", "markdown", "percentile"]

#: What must be empty for a trial to be clean.
FINDINGS = ("lost", "doubled", "overlap", "phantom", "stuck", "wrong", "residue")


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part (0 to 1) is not above; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


@dataclass
class Report:
    """Findings are texts that begin with the job's id, where there is one."""

    #: Filled in by the runner.
    trial: str = ""
    number: int = 0
    summary: str = ""
    tier: str = ""
    seed: int = 0
    server: str = ""
    seconds: float = 0.0

    jobs: int = 0
    accepted: int = 0
    refused: int = 0
    ambiguous: int = 0
    runs: int = 0
    #: Runs beyond the first of a job: after a death (allowed, shown), and without one.
    extra_runs: int = 0
    undue_runs: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    #: Accepted and never finished as it should.
    lost: list[str] = field(default_factory=list)
    #: Two outcomes of one job.
    doubled: list[str] = field(default_factory=list)
    #: Two runs of one job alive at the same time.
    overlap: list[str] = field(default_factory=list)
    #: Ran and was never sent, or ended with an outcome that no run had.
    phantom: list[str] = field(default_factory=list)
    #: An await that never ended.
    stuck: list[str] = field(default_factory=list)
    #: It ended with another value or error than it should.
    wrong: list[str] = field(default_factory=list)
    #: What is left behind: entries, keys, file descriptors, processes.
    residue: list[str] = field(default_factory=list)
    #: Findings that the trial allows, by why.
    forgiven: dict[str, list[str]] = field(default_factory=dict)

    #: Seconds from a fault to the first new start of a job that ran in what it killed, per fault, by kind.
    recovery: dict[str, list[float]] = field(default_factory=dict)
    #: The same for every such job: jobs that ran as their process died by itself run again one by one.
    restarts: dict[str, list[float]] = field(default_factory=dict)
    #: Seconds from the outcome in the store to the end of the await, per job.
    told: list[float] = field(default_factory=list)
    #: Further figures, shown beside.
    facts: dict[str, Any] = field(default_factory=dict)
    #: Pass lines that were not kept.
    failures: list[str] = field(default_factory=list)
    #: By job id: every outcome that was stored, with the server's time of it (Unix seconds).
    history: dict[str, list[tuple[float, Any]]] = field(default_factory=dict)
    #: Where ledger and logs are, if they were kept.
    kept: str = ""

    # ---- judging

    def require(self, condition: object, text: str) -> None:
        """A pass line of the trial's own: the text says what was found instead."""
        if not condition:
            self.failures.append(text)

    def require_recovery(self, kind: str, seconds: float, part: float = 0.99) -> None:
        """After this kind of fault the jobs of the dead started again within so many seconds, in this part of cases."""
        found = self.recovery.get(kind, [])
        measured = percentile(found, part)
        self.require(
            measured <= seconds,
            f"after a dead {kind} jobs started again within {measured:.2f} s (p{part * 100:g} of {len(found)}), "
            f"not {seconds:g} s",
        )

    def forgive(self, finding: str, why: str, which: Iterable[str] | None = None) -> None:
        """Move findings to what is allowed: all of a kind, or those of these job ids."""
        found: list[str] = getattr(self, finding)
        ids = None if which is None else set(which)
        allowed = [text for text in found if ids is None or text.split()[0] in ids]
        if allowed:
            self.forgiven.setdefault(f"{finding}: {why}", []).extend(allowed)
            found[:] = [text for text in found if text not in set(allowed)]

    @property
    def passed(self) -> bool:
        return not self.failures and not any(getattr(self, name) for name in FINDINGS)

    def why(self, most: int = 8) -> str:
        """All that speaks against it, for people."""
        lines = list(self.failures)
        for name in FINDINGS:
            found = getattr(self, name)
            lines += [f"{name}: {text}" for text in found[:most]]
            if len(found) > most:
                lines.append(f"{name}: … {len(found):,} in all")
        if self.kept:
            lines.append(f"ledger and logs: {self.kept}")
        return "\n".join(lines)

    # ---- showing

    def recovered(self) -> str:
        """p50 / p99 / max per kind of fault."""
        return _spread(self.recovery)

    def row(self) -> list[str]:
        """The cells of its line in the table."""
        return [
            f"{self.number} {self.trial}",
            f"{self.jobs:,}",
            f"{sum(self.faults.values()):,}",
            f"{self.runs:,}",
            *(str(len(getattr(self, name))) for name in FINDINGS),
            f"{sum(map(len, self.forgiven.values())):,}",
            _spread(self.recovery, _KINDS) or "-",
            f"{self.seconds:.0f}",
            "pass" if self.passed else "**fail**",
        ]

    def note(self) -> str:
        """What was done, and what the contract allowed, below the table."""
        faults = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(self.faults.items()))
        if len(self.faults) > _KINDS and len(set(self.faults.values())) == 1:
            faults = f"{max(self.faults.values()):,} each of {', '.join(sorted(self.faults))}"
        allowed = "; ".join(f"{why}: {len(found):,}" for why, found in self.forgiven.items())
        return (
            f"- **{self.number} {self.trial}**: {self.summary}."
            f"{f' Faults: {faults}.' if faults else ''}{f' Allowed: {allowed}.' if allowed else ''}"
        )

    def lines(self) -> list[str]:
        """Everything, for a console."""
        said = [
            f"{self.jobs:,} jobs ({self.accepted:,} accepted, {self.ambiguous:,} ambiguous, {self.refused:,} refused), "
            f"{self.runs:,} runs ({self.extra_runs:,} again, {len(self.undue_runs):,} of them without a death), "
            f"{sum(self.faults.values()):,} faults ({dict(self.faults)})",
            ", ".join(f"{name} {len(getattr(self, name))}" for name in FINDINGS),
        ]
        if self.recovered():
            said.append(f"recovery p50 / p99 / max (s): {self.recovered()}")
        if self.restarts:
            said.append(f"restart of each such job p50 / p99 / max (s): {_spread(self.restarts)}")
        if self.told:
            said.append(
                f"outcome to await (s): p50 {percentile(self.told, 0.5):.3f}, p99 {percentile(self.told, 0.99):.3f}, "
                f"max {max(self.told):.3f}"
            )
        said += [f"{name}: {value}" for name, value in self.facts.items()]
        said += [f"allowed, {why}: {len(found):,}" for why, found in self.forgiven.items()]
        return said


#: Kinds of faults above which the table shows all of them together.
_KINDS = 5


def _spread(times: dict[str, list[float]], most: int | None = None) -> str:
    if most is not None and len(times) > most:
        times = {f"{len(times)} kinds": [each for found in times.values() for each in found]}
    return "; ".join(
        f"{kind} {percentile(found, 0.5):.2f} / {percentile(found, 0.99):.2f} / {max(found):.2f}"
        for kind, found in sorted(times.items())
        if found
    )


_HEAD = [
    *("trial", "jobs", "faults", "runs", *FINDINGS, "allowed"),
    *("recovery p50 / p99 / max (s)", "seconds", "verdict"),
]


def headline(reports: Sequence[Report]) -> str:
    """Date, versions, machine and seeds."""
    servers = ", ".join(dict.fromkeys(report.server for report in reports if report.server))
    seeds = ", ".join(f"{report.trial} {report.seed}" for report in reports)
    if len({report.seed for report in reports}) == 1:
        seeds = str(reports[0].seed)
    tiers = ", ".join(dict.fromkeys(report.tier for report in reports))
    return (
        f"{date.today().isoformat()}, {tiers} tier, aiotask {version('aiotask')}, Python {platform.python_version()}, "
        f"{servers}, {platform.system()}, {os.cpu_count()} CPUs. "
        f"Seed: {seeds}."
    )


def markdown(reports: Sequence[Report]) -> str:
    """The table of results, and what each trial did."""
    ordered = sorted(reports, key=lambda each: each.number)
    rows = [_HEAD, ["---"] * len(_HEAD), *(report.row() for report in ordered)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{headline(reports)}\n\n{table}\n\n" + "\n".join(report.note() for report in ordered) + "\n"
