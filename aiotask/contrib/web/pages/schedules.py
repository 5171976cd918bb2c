"""``/schedules`` and ``/schedules/NAME``: what runs by itself, and when."""

from __future__ import annotations

from ....ops.schedules import read_page, read_schedule
from ..view import View
from .shown import Shown, named

__all__ = ["schedule", "schedules"]

_RUNS = 8


async def schedules(view: View) -> Shown:
    limit = view.rows
    page = await read_page(view.place, view.asked("after", 500), limit + 1)
    following = page[limit - 1]["name"] if len(page) > limit else ""
    return Shown("schedules.html", {"title": "Schedules", "schedules": page[:limit], "after": following})


async def schedule(view: View) -> Shown:
    name = named(view, "name")
    found = await read_schedule(view.place, name, _RUNS)
    return Shown("schedule.html", {"title": f"Schedule {name}", "schedule": found, "name": name})
