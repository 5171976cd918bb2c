"""Figures as a table for people, as Markdown for a page, and as JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from .figure import Figure

__all__ = ["facts", "show", "write", "write_markdown"]

#: Columns where the output is no terminal.
_WIDTH = 150


def facts(server: str) -> dict[str, Any]:
    """What the figures depend on."""
    memory = psutil.virtual_memory().total / 1e9
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        # Before anything was measured: how much of it is busy with something else.
        "load": round(os.getloadavg()[0], 2),
        "server": server,
        "versions": {name: metadata.version(name) for name in ("aiotask", "redis", "hiredis", "msgspec", "uvloop")},
    }


def _processor() -> str:
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _described(about: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts as words."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [
        ("date", about["date"]),
        ("command", about["command"]),
        ("machine", f"{about['machine']}; {about['system']}; load before the run {about['load']}"),
        ("server", about["server"]),
        ("versions", f"Python {about['python']}, {versions}"),
    ]


def show(figures: Sequence[Figure], about: dict[str, Any], notes: Sequence[str]) -> None:
    """Print everything."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    for name, text in _described(about):
        console.print(f"[dim]{name:>9}[/]  {text}", highlight=False)
    if single := [figure for figure in figures if figure.at is None]:
        console.print(_table(single))
    for work, rows in _series(figures).items():
        sizes = sorted({size for row in rows.values() for size in row})
        table = Table("", *(f"{size:,}" for size in sizes), title=work)
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for name, row in rows.items():
            table.add_row(name, *(_number(row[size].value) if size in row else "" for size in sizes))
        console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False)


def _table(figures: Sequence[Figure]) -> Table:
    table = Table("work", "measured", "append-only")
    for heading in ("median", "min - max", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    work = ""
    for figure in figures:
        if work and figure.work != work:
            table.add_section()
        style = {True: "bold green", False: "bold red", None: "bold"}[figure.reached]
        table.add_row(
            figure.work if figure.work != work else "",
            figure.name,
            _fsync(figure),
            f"[{style}]{_number(figure.value)}[/]",
            _range(figure),
            _goal(figure),
            figure.unit,
        )
        work = figure.work
    return table


def write_markdown(
    figures: Sequence[Figure],
    about: dict[str, Any],
    notes: Sequence[str],
    path: Path,
    pictures: Sequence[Path] = (),
) -> None:
    """Write everything as Markdown tables, under the pictures that were drawn."""
    lines = ["# aiotask, measured", ""]
    lines += [f"- {name}: `{text}`" if name == "command" else f"- {name}: {text}" for name, text in _described(about)]
    for picture in sorted(pictures):
        lines += ["", f"![{picture.stem}]({Path(os.path.relpath(picture, path.parent)).as_posix()})"]
    if single := [figure for figure in figures if figure.at is None]:
        lines += ["", "| work | measured | append-only | median | min - max | goal | unit |"]
        lines += ["|---|---|---|--:|--:|--:|---|"]
        for figure in single:
            cells = (figure.work, figure.name, _fsync(figure), f"**{_number(figure.value)}**", _range(figure))
            lines.append(f"| {' | '.join((*cells, _goal(figure), figure.unit))} |")
    for work, rows in _series(figures).items():
        sizes = sorted({size for row in rows.values() for size in row})
        lines += ["", f"| {work} | {' | '.join(f'{size:,}' for size in sizes)} |", f"|---|{'--:|' * len(sizes)}"]
        for name, row in rows.items():
            lines.append(
                f"| {name} | {' | '.join(_number(row[size].value) if size in row else '' for size in sizes)} |"
            )
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    path.write_text("\n".join(lines) + "\n")


def _series(figures: Sequence[Figure]) -> dict[str, dict[str, dict[int, Figure]]]:
    """What was measured at several sizes: by work, by name and unit, by size."""
    found: dict[str, dict[str, dict[int, Figure]]] = {}
    for figure in figures:
        if figure.at is not None:
            row = found.setdefault(figure.work, {}).setdefault(f"{figure.name}, {figure.unit}", {})
            row[figure.at] = figure
    return found


def write(figures: Sequence[Figure], about: dict[str, Any], notes: Sequence[str], path: Path) -> None:
    """Write everything as JSON."""
    rows = [
        {
            **{"work": figure.work, "name": figure.name, "unit": figure.unit, "fsync": figure.fsync, "at": figure.at},
            **{"value": _finite(figure.value), "values": [_finite(value) for value in figure.values]},
            **{"goal": figure.goal, "more_is_better": figure.more, "reached": figure.reached},
        }
        for figure in figures
    ]
    path.write_text(json.dumps({**about, "figures": rows, "notes": list(notes)}, indent=2) + "\n")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _fsync(figure: Figure) -> str:
    return "off" if figure.fsync == "no" else figure.fsync


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _range(figure: Figure) -> str:
    return f"{_number(figure.low)} - {_number(figure.high)}" if len(figure.values) > 1 else ""


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{'✓' if figure.reached else '·'} {'≥' if figure.more else '≤'} {_number(figure.goal)}"
