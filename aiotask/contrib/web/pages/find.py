"""``/find?q=``: the page of a job with this id, of a task or queue with this name, or else a search."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from ....ops.graphs import head_of
from ....ops.jobs import in_history
from ....ops.pauses import known_tasks
from ..view import View
from .shown import Shown

__all__ = ["find"]


async def find(view: View) -> Shown | Response:
    text = view.asked("q")
    return RedirectResponse(await _target(view, text), 303)


async def _target(view: View, text: str) -> str:
    if not text:
        return view.url("/jobs")
    inspector = view.connection.inspector
    if await inspector.job(text) is not None or (await in_history(text, None, view.result_db))[0] is not None:
        return view.url("/jobs", text)
    if await inspector.dead_letter(text) is not None:
        return view.url("/dead", text)
    if await head_of(view.connection, text) is not None:
        return view.url("/graphs", text)
    names = [each.task for each in await known_tasks(view.place)]
    short = [name for name in names if text in (name, name.rpartition(":")[2])]
    if len(short) == 1:
        return view.url("/tasks", short[0])
    if any(each.name == text for each in (await view.stats()).queues):
        return view.url("/queues", text)
    return view.url("/jobs", q=text)
