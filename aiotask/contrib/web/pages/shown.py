"""What a page shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ....ops.views.look import ID, TEXT
from ..view import View

__all__ = ["Page", "Shown", "named"]


class Shown(NamedTuple):
    """A template, and what it shows."""

    template: str
    data: dict[str, Any]
    status: int = 200


Page = Callable[[View], Awaitable[Shown | Response]]


def named(view: View, parameter: str) -> str:
    """The id or name in the path.

    Raises:
        HTTPException: it is longer than any id or name.
    """
    found: str = view.request.path_params[parameter]
    most = ID if parameter == "id" else TEXT
    if len(found) > most:
        raise HTTPException(404, f"This has at most {most} characters; what was asked for has {len(found):,}.")
    return found
