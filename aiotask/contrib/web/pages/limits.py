"""``/limits`` and ``/limits/NAME``: what they allow, who is in, and who waits."""

from __future__ import annotations

from ....ops.limits import read_limit, read_limits
from ..view import View
from .shown import Shown, named

__all__ = ["limit", "limits"]

#: Keys and jobs that are listed.
_SHOWN = 100


async def limits(view: View) -> Shown:
    return Shown("limits.html", {"title": "Limits", "limits": await read_limits(view.place)})


async def limit(view: View) -> Shown:
    name = named(view, "name")
    found = await read_limit(view.place, name)
    data = {
        "title": f"Limit {found['task'] or found['name']}",
        "limit": found,
        "keys": found["keys"][:_SHOWN],
        "jobs": found["jobs"][:_SHOWN],
    }
    return Shown("limit.html", data)
