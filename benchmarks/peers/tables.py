"""The outcome as tables of text; Markdown and the terminal show the same ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .catalog import OURS, PEERS
from .compare import comparable, number, ratios
from .outcome import Outcome, Row
from .workloads import FIGURES

__all__ = ["Table", "tables"]

_KILLED = (
    "Seconds from the kill. What was not done in {recovery:g} s counts as lost; a recovery with losses is not compared."
)
_GROUPS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "Rates, more is better",
        ("send", "drain_async_1", "drain_sync_1", "drain_async_2", "drain_sync_2", "trips"),
        "`-`: this queue has no such tasks.",
    ),
    ("Latency in ms, less is better", ("trips_p50", "trips_p99", "idle_p50", "idle_p99"), ""),
    (
        "CPU-bound jobs on two processes, memory, import; less is better",
        ("cpu_bare", "cpu_ideal", "memory", "import"),
        "Wall time over that of two bare processes with the same work, run after it; over half of the jobs' CPU time.",
    ),
    (
        "`kill -9` of one worker process",
        ("one_p50", "one_max", "one_done", "one_lost", "one_twice", "one_interrupted"),
        _KILLED,
    ),
    (
        "`kill -9` of everything, and a restart at once",
        ("all_p50", "all_max", "all_done", "all_lost", "all_twice", "all_interrupted"),
        _KILLED,
    ),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows; the first column is to the left, the others are figures unless it is a table of words."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    note: str = ""
    words: bool = False


def tables(outcome: Outcome) -> list[Table]:
    """Everything that the figures say, in the order in which one reads it."""
    found = [_figures(outcome, title, names, note.format_map(outcome.about)) for title, names, note in _GROUPS]
    return [
        _ratios(outcome),
        *(table for table in found if table is not None),
        _settings(outcome),
        *_failures(outcome),
    ]


def _figures(outcome: Outcome, title: str, names: tuple[str, ...], note: str) -> Table | None:
    here = [name for name in names if any(outcome.values(row.name, name) for row in outcome.rows)]
    if not here:
        return None
    first = FIGURES[here[0]]

    def place(row: Row) -> tuple[bool, float]:
        value = outcome.value(row.name, first.name)
        return value is None, 0.0 if value is None else -value if first.more else value

    heads = ["queue", *(f"{FIGURES[name].title}, {FIGURES[name].unit}" for name in here)]
    best = {name: _best(outcome, name) for name in here}
    rows = [
        [row.title, *(_cell(outcome, row.name, name, best[name]) for name in here)]
        for row in sorted(outcome.rows, key=place)
    ]
    return Table(title, [re.sub("^kill .*?: ", "", head) for head in heads], rows, note)


def _best(outcome: Outcome, name: str) -> float | None:
    more = FIGURES[name].more
    values = [value for row in outcome.rows if (value := comparable(outcome, row.name, name)) is not None]
    return None if more is None or not values else max(values) if more else min(values)


def _cell(outcome: Outcome, peer: str, name: str, best: float | None) -> str:
    value = outcome.value(peer, name)
    if value is None:
        if outcome.reasons(peer, FIGURES[name].workload):
            return "failed"
        return "not in time" if name.startswith(("one_", "all_")) and outcome.values(peer, f"{name[:3]}_lost") else "-"
    if FIGURES[name].unit == "jobs":
        return f"{value:,.0f}"
    values = outcome.values(peer, name)
    shown = f"**{number(value)}**" if value == best else number(value)
    return f"{shown} ({number(min(values))}-{number(max(values))})" if len(values) > 1 else shown


def _ratios(outcome: Outcome) -> Table:
    rows = [
        [
            each.title,
            f"{number(each.ours)} {each.unit}",
            f"{number(each.theirs)} {each.unit}",
            each.against,
            f"{number(each.ratio)}x",
            f"{'✓' if each.met else '✗'} {each.target:g}x",
        ]
        for each in ratios(outcome)
    ]
    note = "Medians of one interleaved run. A recovery that lost jobs is not compared."
    heads = ["", "aiotask", "the other", "which", "better by", "target"]
    return Table("aiotask against the best of the others", heads, rows, note)


def _settings(outcome: Outcome) -> Table:
    rows = []
    for row in outcome.rows:
        peer = PEERS[row.name]
        release = f"{row.title} {row.release}, Python {row.python}"
        rows.append([release, peer.settings, peer.cpu, peer.recovery])
    for name, reason in outcome.skipped.items():
        rows.append([PEERS[name].title, f"not installed: {reason}", "", ""])
    note = f"P: the number of worker processes. {PEERS[OURS].title} has its defaults everywhere; the others are tuned."
    return Table("Settings", ["queue", "everywhere", "CPU-bound jobs", "recovery"], rows, note, words=True)


def _failures(outcome: Outcome) -> list[Table]:
    rows = [[PEERS[each.peer].title, each.workload, str(each.repetition), each.reason] for each in outcome.failures]
    heads = ["queue", "workload", "repetition", "why"]
    return [Table("Runs without a figure", heads, rows, words=True)] if rows else []
