"""``/find?q=``: leads to the page of a job with this id, of a task or queue with this name, or else to a search."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from ....ops import views
from ..view import View
from .shown import Shown

__all__ = ["find"]


async def find(view: View) -> Shown | Response:
    target = await views.find(view, view.asked("q"))
    return RedirectResponse(view.url(f"/{target.view}", *([target.name] if target.name else []), q=target.text), 303)
