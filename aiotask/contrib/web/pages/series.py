"""``/series.json``: the numbers of the charts; and ``/metrics``: what is on the server, for Prometheus."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ....errors import ConfigError
from ....ops.metrics import CONTENT_TYPE, stats_exposition
from ....ops.series import RANGES, Ranged, read_minutes, series_of
from ..view import View

__all__ = ["metrics", "minutes_of", "range_in", "series"]

#: Seconds for which minutes are kept, for all who look: the keepers write every 5 s.
_KEPT = 5.0


def range_in(view: View, usual: str = "1h") -> str:
    """The name of the range that was asked for.

    Raises:
        ConfigError: there is no such range.
    """
    name = view.asked("range") or usual
    if name not in RANGES:
        raise ConfigError(f'There is no range "{name}". Ranges: {", ".join(RANGES)}.')
    return name


async def minutes_of(view: View, name: str) -> Ranged:
    found: Ranged = await view.kept(f"minutes {name}", _KEPT, lambda: read_minutes(view.connection, name))
    return found


async def series(view: View) -> Response:
    ranged = await minutes_of(view, range_in(view))
    return JSONResponse(series_of(ranged, view.asked("task"), view.asked("queue")).described())


async def metrics(view: View) -> Response:
    facts = await view.kept("facts", 10.0, view.connection.inspector.facts)
    text = stats_exposition(view.connection.name, await view.stats(), facts.memory_used)
    return PlainTextResponse(text, media_type=CONTENT_TYPE)
