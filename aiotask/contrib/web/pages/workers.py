"""``/workers`` and ``/workers/HOST``: who is live, as the keepers report it."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ....ops.hosts import skews
from ..view import View
from .overview import hosts_of, names_in, running_longest
from .shown import Shown, named

__all__ = ["host", "workers"]


async def workers(view: View) -> Shown:
    hosts = await hosts_of(view)
    data = {
        "title": "Workers",
        "hosts": hosts,
        "number": sum(len(each["live"]) for each in hosts),
        "skews": skews(hosts),
    }
    return Shown("workers.html", data)


async def host(view: View) -> Shown:
    name = named(view, "name")
    found = next((each for each in await hosts_of(view) if each["host"] == name), None)
    if found is None:
        raise HTTPException(404, f'No live worker is on a host "{name}": it has stopped, or was declared dead.')
    live = [each for each in await view.kept("workers", 2.0, view.connection.inspector.workers) if each.host == name]
    data = {
        "title": f"Host {found.get('machine') or name}",
        "host": found,
        "workers": live,
        "queues": sorted({queue for each in live for queue in names_in(each.facts.get("queues"))}),
        "tasks": sorted({task for each in live for task in names_in(each.facts.get("tasks"))}),
        "running": running_longest([found])[:50],
    }
    return Shown("host.html", data)
