"""The pages that show what a view reads, and no more than that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ....ops import views
from .. import text
from ..view import View
from .charted import charted
from .shown import Page, Shown, named

__all__ = ["letter", "page", "page_of"]


def page(template: str, read: Callable[[View], Awaitable[dict[str, Any]]], *, charts: bool = False) -> Page:
    """The page of a list."""

    async def show(view: View) -> Shown:
        data = await read(view)
        return Shown(template, {**data, **(charted(data["ranged"], view) if charts else {})})

    show.__name__ = read.__name__
    return show


def page_of(
    template: str, read: Callable[[View, str], Awaitable[dict[str, Any]]], parameter: str, charts: str = ""
) -> Page:
    """The page of one thing, whose id or name is in the path.

    Args:
        charts: what the charts are of: ``task`` or ``queue``; empty: it has none.
    """

    async def show(view: View) -> Shown:
        name = named(view, parameter)
        data = await read(view, name)
        return Shown(template, {**data, **(charted(data["ranged"], view, **{charts: name}) if charts else {})})

    show.__name__ = read.__name__
    return show


async def letter(view: View) -> Shown:
    data = await views.letter(view, named(view, "id"))
    given = data["arguments"]
    return Shown("letter.html", {**data, "arguments": None if given is None else text.call(given)})
