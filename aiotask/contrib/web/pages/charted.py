"""What the charts of a page need."""

from __future__ import annotations

from typing import Any

from ....ops.series import RANGES, Ranged, series_of
from ....ops.views.minutes import range_in
from .. import charts
from ..view import View

__all__ = ["charted"]

#: The lines of the chart of times, with their colours and words.
_TIMES = (("wait_p95", "run", "wait p95"), ("run_p95", "warn", "run p95"), ("run_p50", "ink", "run p50"))
_OF_QUEUE = (("wait_p95", "run", "wait p95"), ("wait_p50", "ink", "wait p50"))
_OF_TASK = (("run_p95", "warn", "run p95"), ("run_p50", "ink", "run p50"))


def charted(ranged: Ranged, view: View, task: str = "", queue: str = "") -> dict[str, Any]:
    """The charts of everything, of a task, or of a queue; none where nothing was counted."""
    series = series_of(ranged, task, queue)
    names = _OF_QUEUE if queue else _OF_TASK if task else _TIMES
    known = [value for name, _, _ in names for value in getattr(series, name) if value is not None]
    # Milliseconds, unless that would be numbers of five digits.
    scale, unit, word = (1.0, " s", "seconds") if max(known, default=0.0) > 10 else (1000.0, " ms", "milliseconds")
    label = ", ".join(word for _, _, word in names)
    return {
        "ranged": ranged,
        "ranges": tuple(RANGES),
        "range": range_in(view),
        "series": series,
        "bars": charts.bars(series) if series.at and not queue else None,
        "pending": charts.lines(series, [("pending", "run")], 1, "", "pending jobs") if series.at and queue else None,
        "time_chart": charts.lines(series, [(name, kind) for name, kind, _ in names], scale, unit, label)
        if series.at and known
        else None,
        "time_names": names,
        "time_scale": scale,
        "time_unit": word,
        "series_url": view.url("/series.json", range=range_in(view), task=task, queue=queue),
    }
