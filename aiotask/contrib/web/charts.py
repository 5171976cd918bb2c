"""Charts as pictures in the page: they stand there until the script of the page draws them, and for good without it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil, log10

from markupsafe import Markup

from ...ops.series import Series
from ...ops.views.words import clean

__all__ = ["bars", "lines", "spark"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 190, 46, 20
_INNER = _HEIGHT - _BOTTOM - 8


def spark(values: Sequence[float | int | None], kind: str = "run") -> Markup:
    """A small line, without numbers."""
    known = [float(value or 0) for value in values][-60:]
    if len(known) < 2:
        return Markup("")
    top, step = max(*known, 1e-9), 90 / (len(known) - 1)
    points = " ".join(f"{1 + number * step:.1f},{18 - 16 * value / top:.1f}" for number, value in enumerate(known))
    return Markup(
        '<svg class="spark" viewBox="0 0 92 20" aria-hidden="true"><polyline class="l-{}" points="{}"/></svg>'
    ).format(kind, points)


def _ceiling(value: float) -> float:
    """The least round number that is not below this one."""
    if value <= 0:
        return 1.0
    size = 10 ** int(log10(value) // 1)
    return float(next(each * size for each in (1, 2, 2.5, 5, 10, 20) if each * size >= value))


def _frame(series: Series, top: float, unit: str) -> Markup:
    """Lines of the grid, with what they mean, and moments below."""
    parts = []
    for part in range(5):
        y = 8 + _INNER * part / 4
        word = f"{top * (4 - part) / 4:,.4g}{unit if part == 0 else ''}"
        parts.append(Markup('<line class="gl" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDTH, y, y))
        parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(_LEFT - 6, y + 3.5, word))
    number = len(series.at)
    for at in range(0, number, max(ceil(number / 4), 1)):
        when = datetime.fromtimestamp(series.at[at], UTC).strftime("%H:%M" if series.step < 600 else "%d. %H:%M")
        x = _LEFT + (_WIDTH - _LEFT) * (at + 0.5) / number
        parts.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(x, _HEIGHT - 5, when))
    for moment, release in series.marks:
        x = _LEFT + (_WIDTH - _LEFT) * series.at.index(moment) / number
        line = Markup('<line class="deploy" x1="{:.1f}" x2="{:.1f}" y1="8" y2="{}"/>').format(x, x, 8 + _INNER)
        # Near the right edge the name stands before the line.
        place, side = (x + 3, "start") if x < _WIDTH - 120 else (x - 3, "end")
        word = Markup('<text class="deploy" x="{:.1f}" y="16" text-anchor="{}">{}</text>').format(
            place, side, clean(release)[:20]
        )
        parts.append(line + word)
    return Markup("").join(parts)


def _svg(label: str, content: Markup) -> Markup:
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, label, content
    )


def bars(series: Series) -> Markup:
    """How many jobs ended well, are to be retried, and failed, by the second: in one bar for each minute."""
    stacks = (("good", series.succeeded), ("warn", series.retried), ("bad", series.failed))
    top = _ceiling(max((sum(each) for each in zip(*(values for _, values in stacks), strict=True)), default=0))
    width = (_WIDTH - _LEFT) / max(len(series.at), 1)
    parts = []
    for number in range(len(series.at)):
        y = 8.0 + _INNER
        for kind, values in stacks:
            height = _INNER * values[number] / top
            y -= height
            if height > 0.05:
                parts.append(
                    Markup('<rect class="s-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                        kind, _LEFT + number * width, y, max(width - 0.8, 0.6), height
                    )
                )
    label = "Jobs that ended well, are to be retried, and failed, per second"
    return _svg(label, _frame(series, top, "/s") + Markup("").join(parts))


def lines(series: Series, names: Sequence[tuple[str, str]], scale: float, unit: str, label: str) -> Markup:
    """Some of the series as lines.

    Args:
        names: of the series, each with its colour.
        scale: by which the numbers are multiplied.
    """
    known = [value * scale for name, _ in names for value in getattr(series, name) if value is not None]
    top = _ceiling(max(known, default=0.0))
    parts = []
    for name, kind in names:
        step = (_WIDTH - _LEFT) / len(series.at)
        points = [
            f"{_LEFT + step * (number + 0.5):.1f},{8 + _INNER * (1 - value * scale / top):.1f}"
            for number, value in enumerate(getattr(series, name))
            if value is not None
        ]
        if points:
            parts.append(Markup('<polyline class="l-{}" points="{}"/>').format(kind, " ".join(points)))
    return _svg(label, _frame(series, top, unit) + Markup("").join(parts))
