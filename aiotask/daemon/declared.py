"""The schedules that a worker process declares."""

from __future__ import annotations

from functools import partial

from ..broker import Broker
from ..brokers import features, schedules_of
from ..brokers.technology import SCHEDULES
from ..worker.schedules import Declaring
from ..worker.worker import Worker
from .release import Release
from .served_units import ServedUnit
from .settings import WorkerSettings

__all__ = ["declare_when_up"]


async def declare_when_up(
    each: ServedUnit, worker: Worker, broker: Broker, settings: WorkerSettings, release: Release
) -> None:
    """Declare the schedules of one app from when its worker is up until cancelled."""
    app = each.app
    if each.unit.rows is not None or SCHEDULES not in features(app.url):
        return
    await worker.up.wait()
    generation = partial(release.generation, f"{app.name} {app.url}")
    by = " ".join(settings.apps)
    await Declaring(schedules_of(broker), by, generation, app.declarations, worker.enlisted).run()
