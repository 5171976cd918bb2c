"""The limits, and one of them: what they allow, who is in, and who waits."""

from __future__ import annotations

from typing import Any

from ..limits import read_limit, read_limits
from .look import Look

__all__ = ["limit", "limits"]

#: Keys and jobs that are listed.
_SHOWN = 100


async def limits(look: Look) -> dict[str, Any]:
    return {"title": "Limits", "limits": await read_limits(look.place)}


async def limit(look: Look, name: str) -> dict[str, Any]:
    found = await read_limit(look.place, name)
    return {
        "title": f"Limit {found['task'] or found['name']}",
        "limit": found,
        "keys": found["keys"][:_SHOWN],
        "jobs": found["jobs"][:_SHOWN],
    }
