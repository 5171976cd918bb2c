"""The schedules, and one of them: what runs by itself, and when."""

from __future__ import annotations

from typing import Any

from ..schedules import read_page, read_schedule
from .look import Look

__all__ = ["schedule", "schedules"]

_RUNS = 8


async def schedules(look: Look) -> dict[str, Any]:
    limit = look.rows
    page = await read_page(look.place, look.asked("after", 500), limit + 1)
    following = page[limit - 1]["name"] if len(page) > limit else ""
    return {"title": "Schedules", "schedules": page[:limit], "after": following}


async def schedule(look: Look, name: str) -> dict[str, Any]:
    found = await read_schedule(look.place, name, _RUNS)
    return {"title": f"Schedule {name}", "schedule": found, "name": name}
