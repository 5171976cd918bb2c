"""What a worker process declares of its apps: schedules, and the arguments that people are not shown."""

from __future__ import annotations

import asyncio
from functools import partial

from ..broker import Broker
from ..brokers import features, hides_of, schedules_of
from ..brokers.technology import HIDES, SCHEDULES
from ..worker.hiding import tell_hidden
from ..worker.schedules import Declaring
from ..worker.worker import Worker
from .release import Release
from .served_units import ServedUnit
from .settings import WorkerSettings

__all__ = ["declare_when_up"]


async def declare_when_up(
    each: ServedUnit, worker: Worker, broker: Broker, settings: WorkerSettings, release: Release
) -> None:
    """Declare what one app has to declare from when its worker is up until cancelled."""
    app, offered = each.app, features(each.app.url)
    if each.unit.rows is not None:
        return
    await worker.up.wait()
    by = " ".join(settings.apps)
    async with asyncio.TaskGroup() as group:
        if HIDES in offered:
            group.create_task(tell_hidden(hides_of(broker), by, app.hidden, replaces=True))
        if SCHEDULES in offered:
            generation = partial(release.generation, f"{app.name} {app.url}")
            declaring = Declaring(schedules_of(broker), by, generation, app.declarations, worker.enlisted)
            group.create_task(declaring.run())
