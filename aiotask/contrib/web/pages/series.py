"""``/series.json``: the numbers of the charts; and ``/metrics``: what is on the server, for Prometheus."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ....ops.metrics import CONTENT_TYPE, stats_exposition
from ....ops.series import series_of
from ....ops.views.minutes import minutes_of, range_in
from ..view import View

__all__ = ["metrics", "series"]


async def series(view: View) -> Response:
    ranged = await minutes_of(view, range_in(view))
    return JSONResponse(series_of(ranged, view.asked("task"), view.asked("queue")).described())


async def metrics(view: View) -> Response:
    facts = await view.kept("facts", 10.0, view.connection.inspector.facts)
    text = stats_exposition(view.connection.name, await view.stats(), facts)
    return PlainTextResponse(text, media_type=CONTENT_TYPE)
