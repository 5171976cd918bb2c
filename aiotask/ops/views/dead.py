"""Dead letters: jobs that were given up, by error and task, and one by one."""

from __future__ import annotations

import time
from typing import Any

from ..letters import GROUPED, OWN_ERRORS, Filter, by_error, read_letter, read_page
from .job import timeline
from .look import Look

__all__ = ["dead", "letter"]


async def dead(look: Look) -> dict[str, Any]:
    wanted = Filter(look.asked("task") or None, look.asked("queue") or None, look.asked("error") or None)
    page = await read_page(look.place, wanted, look.asked("after", 500), look.rows)
    stats = await look.stats()
    return {
        "title": "Dead letters",
        "letters": page,
        "after": page[-1].get("after", "") if page else "",
        "wanted": wanted,
        "total": stats.dead,
        "groups": await look.kept("failures", 2.0, lambda: by_error(look.connection)),
        "grouped": min(GROUPED, stats.dead),
        "queues": sorted(each.name for each in stats.queues),
    }


async def letter(look: Look, id: str) -> dict[str, Any]:
    found = await read_letter(id, look.place)
    return {
        "title": f"Dead letter {id}",
        "id": id,
        "letter": found,
        "bars": timeline(found, time.time()),
        "arguments": found.get("arguments"),
        "error": f"{found.get('error') or ''}\n\n{found.get('traceback') or ''}".strip().removeprefix(OWN_ERRORS),
    }
