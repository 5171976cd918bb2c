"""Figures as charts (SVG)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figure import Figure

__all__ = ["are_possible", "draw"]


def are_possible() -> bool:
    """Whether what draws them is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(figures: Sequence[Figure], about: dict[str, Any], directory: Path) -> list[Path]:
    """Write them into this directory; the files."""
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file, and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "aiotask", "svg.fonttype": "none", "font.size": 9})
    directory.mkdir(parents=True, exist_ok=True)
    caption = f"aiotask {about['versions']['aiotask']}, Python {about['python']}, {about['server']}, {about['machine']}"
    files = []
    if any(figure.at is not None for figure in figures):
        files.append(_save(_scale(figures), caption, directory / "scale.svg"))
    if any(figure.goal is not None for figure in figures):
        files.append(_save(_goals(figures), caption, directory / "goals.svg"))
    return files


def _save(chart: Any, caption: str, path: Path) -> Path:
    from matplotlib import pyplot

    chart.text(0.01, 0.005, caption, fontsize=7, color="gray")
    chart.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(chart)
    return path


def _scale(figures: Sequence[Figure]) -> Any:
    """Cost against size, one panel for each kind of size."""
    from matplotlib import pyplot

    works = list(dict.fromkeys(figure.work for figure in figures if figure.at is not None))
    chart, panels = pyplot.subplots(len(works), 1, figsize=(8, 3.4 * len(works)), layout="constrained", squeeze=False)
    for panel, work in zip(panels[:, 0], works, strict=True):
        lines: dict[tuple[str, str], list[Figure]] = {}
        for figure in figures:
            if figure.work == work and figure.at is not None:
                lines.setdefault((figure.name, figure.unit), []).append(figure)
        for (name, unit), points in lines.items():
            sizes = [figure.at for figure in points]
            style = "--" if "wall" in name else "-"
            (line,) = panel.plot(sizes, [figure.value for figure in points], style, marker="o", markersize=3)
            line.set_label(name if unit.startswith("µs") else f"{name}, {unit}")
            panel.fill_between(
                sizes, [p.low for p in points], [p.high for p in points], color=line.get_color(), alpha=0.12
            )
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.set_ylim(bottom=0)
        panel.set_xlabel(work.removeprefix("scale: "))
        panel.set_ylabel("µs per job")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return chart


def _goals(figures: Sequence[Figure]) -> Any:
    """Every figure that has a goal, as a share of it; more is better throughout."""
    from matplotlib import pyplot

    marked = [figure for figure in figures if figure.goal and figure.value > 0]
    names = [
        f"{figure.work}: {figure.name}" + ("" if figure.fsync == "no" else f" ({figure.fsync})") for figure in marked
    ]
    shares = [_share(figure, figure.value) for figure in marked]
    chart, panel = pyplot.subplots(figsize=(9, 0.8 + 0.28 * len(marked)), layout="constrained")
    rows = range(len(marked))
    panel.barh(rows, shares, color=["#2a7" if figure.reached else "#c44" for figure in marked])
    for row, figure in enumerate(marked):
        ends = sorted((_share(figure, figure.low), _share(figure, figure.high)))
        panel.plot(ends, [row, row], color="black", linewidth=0.8)
    panel.axvline(1.0, color="black", linewidth=1)
    panel.set_yticks(rows, names, fontsize=7)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_xlabel("share of the goal: right of the line it is reached")
    panel.xaxis.set_major_formatter("{x:g}")
    return chart


def _share(figure: Figure, value: float) -> float:
    assert figure.goal is not None
    share = value / figure.goal if figure.more else figure.goal / max(value, 1e-9)
    return min(share, 100.0)
