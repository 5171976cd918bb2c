"""What a page shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ....ops.views.look import ID
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
        HTTPException: it is longer than any id.
    """
    found: str = view.request.path_params[parameter]
    if len(found) > ID:
        raise HTTPException(404, f"An id or name has at most {ID} characters; this one has {len(found):,}.")
    return found
