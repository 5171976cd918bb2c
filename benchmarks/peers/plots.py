"""Pictures of the outcome: horizontal bars on a logarithmic axis, legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .catalog import OURS
from .compare import best_drain, comparable, number
from .outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

#: Mid tones: enough contrast on white and on near black.
_TEXT, _OURS, _OTHERS, _GRID = "#808890", "#e07b39", "#6f93b8", "#80889040"


@dataclass(frozen=True, slots=True)
class _Picture:
    file: str
    title: str
    unit: str
    value: Callable[[Outcome, str], float | None]
    more: bool = True


def _figure(name: str) -> Callable[[Outcome, str], float | None]:
    return lambda outcome, peer: comparable(outcome, peer, name)


_PICTURES = (
    _Picture("send", "Send, one client", "jobs/s", _figure("send")),
    _Picture("drain-1", "Drain no-op jobs, 1 worker process", "jobs/s", lambda all_, peer: best_drain(all_, peer, 1)),
    _Picture("drain-2", "Drain no-op jobs, 2 worker processes", "jobs/s", lambda all_, peer: best_drain(all_, peer, 2)),
    _Picture("trips", "Round trips, 100 in flight", "calls/s", _figure("trips")),
    _Picture("idle", "Idle round trip, p50", "ms", _figure("idle_p50"), more=False),
    _Picture("recovery", "kill -9 of a worker: last interrupted job runs again", "s", _figure("one_max"), more=False),
)


def draw(outcome: Outcome, directory: Path) -> list[Path]:
    """Write one SVG for each picture that has figures; needs matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    written = []
    # Text stays text, so that it is sharp and can be searched; a fixed salt gives the same file for the same figures.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "aiotask", "font.family": "sans-serif"}):
        for picture in _PICTURES:
            bars = _bars(outcome, picture)
            if not any(value for _, value, _ in bars):
                continue
            figure, axes = pyplot.subplots(figsize=(7.2, 0.6 + 0.3 * len(bars)))
            _draw(axes, picture, bars)
            path = directory / f"{picture.file}.svg"
            figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
            pyplot.close(figure)
            written.append(path)
    return written


def _bars(outcome: Outcome, picture: _Picture) -> list[tuple[str, float | None, bool]]:
    """Name, figure and whether it is ours, the best one first."""
    bars = [(row.title, picture.value(outcome, row.name), row.name == OURS) for row in outcome.rows]
    return sorted(bars, key=lambda bar: (bar[1] is None, (-bar[1] if picture.more else bar[1]) if bar[1] else 0.0))


def _draw(axes: Axes, picture: _Picture, bars: list[tuple[str, float | None, bool]]) -> None:
    figures = [value for _, value, _ in bars if value]
    # A logarithmic axis has no nought: the shortest bar is a third of a decade.
    low, high = min(figures) / 2, max(figures)
    for place, (_, value, is_ours) in enumerate(bars):
        if value:
            axes.barh(place, value - low, left=low, height=0.66, color=_OURS if is_ours else _OTHERS)
        text = number(value) if value else "jobs were lost" if picture.file == "recovery" else "no figure"
        axes.text(value or low, place, f" {text}", va="center", color=_TEXT, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(low, high * (high / low) ** 0.12)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars], color=_TEXT, fontsize=10)
    for label, (_, _, is_ours) in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if is_ours else "normal")
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.minorticks_off()
    better = "more is better" if picture.more else "less is better"
    axes.set_title(f"{picture.title} ({picture.unit}, {better})", color=_TEXT, fontsize=11, loc="left")
    axes.tick_params(axis="x", which="both", colors=_TEXT, labelsize=8, length=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
