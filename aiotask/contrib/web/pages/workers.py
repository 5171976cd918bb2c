"""``/workers`` and ``/workers/HOST``: who is live."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ..view import View
from .overview import hosts_of, names_in
from .shown import Shown, named

__all__ = ["host", "workers"]

_KEPT = 2.0


async def workers(view: View) -> Shown:
    live = await view.kept("workers", _KEPT, view.connection.inspector.workers)
    return Shown("workers.html", {"title": "Workers", "hosts": hosts_of(live), "workers": live})


async def host(view: View) -> Shown:
    name = named(view, "name")
    live = await view.kept("workers", _KEPT, view.connection.inspector.workers)
    own = [each for each in live if each.host == name]
    if not own:
        raise HTTPException(404, f'No live worker is on a host "{name}": it has stopped, or was declared dead.')
    tasks = sorted({task for each in own for task in names_in(each.facts.get("tasks"))})
    data = {"title": f"Host {name}", "host": hosts_of(own)[0], "workers": own, "tasks": tasks}
    return Shown("host.html", data)
