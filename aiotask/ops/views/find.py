"""Where a text leads: the job with this id, a task or queue with this name, or else a search."""

from __future__ import annotations

from typing import NamedTuple

from ..graphs import head_of
from ..jobs import in_history
from ..pauses import known_tasks
from .look import Look

__all__ = ["Target", "find"]


class Target(NamedTuple):
    """A view, and the one thing in it that is meant; ``text`` is to be searched for in the list."""

    view: str
    name: str = ""
    text: str = ""


async def find(look: Look, text: str) -> Target:
    if not text:
        return Target("jobs")
    inspector = look.connection.inspector
    if (
        await inspector.job(text) is not None
        or (await in_history(text, None, look.result_db, look.connection.hidden))[0] is not None
    ):
        return Target("jobs", text)
    if await inspector.dead_letter(text) is not None:
        return Target("dead", text)
    if await head_of(look.connection, text) is not None:
        return Target("graphs", text)
    names = [each.task for each in await known_tasks(look.place)]
    short = [name for name in names if text in (name, name.rpartition(":")[2])]
    if len(short) == 1:
        return Target("tasks", short[0])
    if any(each.name == text for each in (await look.stats()).queues):
        return Target("queues", text)
    return Target("jobs", text=text)
