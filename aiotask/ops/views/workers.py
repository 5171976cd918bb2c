"""The hosts, and one of them: who is live, as the keepers report it."""

from __future__ import annotations

from typing import Any

from ..hosts import skews
from .look import Look, NotFound
from .overview import hosts_of, names_in, running_longest

__all__ = ["host", "workers"]


async def workers(look: Look) -> dict[str, Any]:
    hosts = await hosts_of(look)
    return {
        "title": "Workers",
        "hosts": hosts,
        "number": sum(len(each["live"]) for each in hosts),
        "skews": skews(hosts),
    }


async def host(look: Look, name: str) -> dict[str, Any]:
    found = next((each for each in await hosts_of(look) if each["host"] == name), None)
    if found is None:
        raise NotFound(f'No live worker is on a host "{name}": it has stopped, or was declared dead.')
    live = [each for each in await look.kept("workers", 2.0, look.connection.inspector.workers) if each.host == name]
    return {
        "title": f"Host {found.get('machine') or name}",
        "host": found,
        "workers": live,
        "queues": sorted({queue for each in live for queue in names_in(each.facts.get("queues"))}),
        "tasks": sorted({task for each in live for task in names_in(each.facts.get("tasks"))}),
        "running": running_longest([found])[:50],
    }
