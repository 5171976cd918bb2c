"""``/jobs/ID``: one job, with everything that is known about it; and its arguments and result as a file."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from ....errors import ResultExpired
from ....ops import views
from ....ops.views.words import plain_call
from .. import text
from ..view import View
from .shown import Shown, named

__all__ = ["body", "job", "job_shown"]


async def job(view: View) -> Shown:
    return await job_shown(view, named(view, "id"))


async def job_shown(view: View, id: str, **more: Any) -> Shown:
    """The page of a job.

    Raises:
        ResultExpired: there is none of this id.
    """
    data = await views.job(view, id)
    shown = {
        name: None if (given := data["job"].get(name)) is None else text.call(given) for name in ("arguments", "value")
    }
    return Shown("job.html", {**data, **shown, "stacks": None, **more})


async def body(view: View) -> Response:
    """The arguments and the result of a job as a file of text."""
    id = named(view, "id")
    if view.choices.hide_arguments:
        raise ResultExpired("Arguments and results are not shown here: the dashboard runs with --hide-arguments.")
    found = await views.whole_job(view, id)
    parts = []
    for name in ("arguments", "value"):
        if found.get(name) is not None:
            parts.append(f"{name}:\n{plain_call(found[name])}\n")
    headers = {"content-disposition": 'attachment; filename="job.txt"'}
    return PlainTextResponse("\n".join(parts).encode("utf-8", "backslashreplace").decode(), headers=headers)
