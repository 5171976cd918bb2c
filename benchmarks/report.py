"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .figure import Figure

__all__ = ["facts", "show", "write"]

#: Columns where the output is no terminal.
_WIDTH = 140


def facts(server: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "server": server,
        "versions": {name: metadata.version(name) for name in ("aiotask", "redis", "hiredis", "msgspec", "uvloop")},
    }


def show(figures: Sequence[Figure], about: dict[str, Any]) -> None:
    """Print the table."""
    title = f"aiotask {about['versions']['aiotask']}, Python {about['python']}, {about['server']}, {about['machine']}"
    table = Table(title=title)
    for heading in ("work", "measured", "append-only"):
        table.add_column(heading)
    for heading in ("median", "min - max", "half", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    work = ""
    for figure in figures:
        if work and figure.work != work:
            table.add_section()
        style = {True: "green", False: "red", None: ""}[figure.reaches(figure.half)]
        table.add_row(
            figure.work if figure.work != work else "",
            figure.name,
            "off" if figure.fsync == "no" else figure.fsync,
            f"[bold {style}]{_number(figure.value)}[/]" if style else _number(figure.value),
            f"{_number(figure.low)} - {_number(figure.high)}",
            _mark(figure, figure.half),
            _mark(figure, figure.goal),
            figure.unit,
        )
        work = figure.work
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)


def write(figures: Sequence[Figure], about: dict[str, Any], path: Path) -> None:
    """Write everything as JSON."""
    rows = [
        {
            **{"work": figure.work, "name": figure.name, "unit": figure.unit, "fsync": figure.fsync},
            **{"value": figure.value, "values": list(figure.values)},
            **{"half": figure.half, "goal": figure.goal, "more_is_better": figure.more},
        }
        for figure in figures
    ]
    path.write_text(json.dumps({**about, "figures": rows}, indent=2) + "\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _mark(figure: Figure, mark: float | None) -> str:
    if mark is None:
        return ""
    return f"{'✓' if figure.reaches(mark) else '·'} {_number(mark)}"
