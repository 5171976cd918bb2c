"""``/bulk`` asks before an action on all that a filter finds, and ``/bulk/ID`` shows how far one is."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ....ops import views
from ....ops.views.marks import word_of
from ....ops.views.runs import BROKEN_OFF
from ..forms import safe_path
from ..view import View
from .shown import Shown, named

__all__ = ["bulk", "new_bulk"]


async def new_bulk(view: View) -> Shown:
    """How many match, before it is begun."""
    data = await views.new_bulk(view, view.asked("verb"))
    return Shown("new_bulk.html", {**data, "to": safe_path(view.given.get("back", ""), view.url("/jobs"))})


async def bulk(view: View) -> Shown:
    run = view.site.runs.get(named(view, "id"))
    if run is None or run.app != view.connection.label:
        raise HTTPException(
            404,
            "This bulk action is not known here: the dashboard was restarted, or another of its processes runs it. "
            "What it has done is in the audit, and it can be begun again without harm.",
        )
    return Shown(
        "bulk.html", {"title": f"{word_of(run.verb).capitalize()} {run.subject}", "run": run, "broken_off": BROKEN_OFF}
    )
