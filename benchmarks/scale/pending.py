"""What it costs to send and to drain a job while many others wait."""

from __future__ import annotations

import asyncio
import time

import psutil

from aiotask.brokers import connect, inspect

from ..figure import Failed, Figure
from ..fleet import fleet
from ..plan import Plan
from ..send import send
from ..server import Server
from ..tasks import NAME, Tasks
from .cost import Costs, Meter, growth

__all__ = ["drained", "measure", "sizes_that_fit", "until_done"]

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 5_000_000)
SAMPLE = 20_000
#: Jobs of a drain that are not counted: the worker has just started.
WARM = 2_000
#: Bytes that a waiting job takes on the server at most, to see beforehand whether there is room.
_BYTES = 700
#: Seconds that the workers may take to empty the queue.
_DRAIN_TIMEOUT = 120.0


def sizes_that_fit(plan: Plan, sizes: tuple[int, ...], what: str) -> list[int]:
    """Those that are wanted and have room in memory; what is left out is said."""
    wanted = [size for size in sizes if size <= plan.scale_max]
    free = psutil.virtual_memory().available
    fitting = [size for size in wanted if size * _BYTES <= free]
    for left_out, why in (
        ([size for size in sizes if size not in wanted], f"--scale-max {plan.scale_max:,}"),
        ([size for size in wanted if size not in fitting], f"{_BYTES} bytes each, {free / 1e9:.1f} GB are free"),
    ):
        if left_out:
            plan.notes.append(f"scale: {', '.join(f'{size:,}' for size in left_out)} {what} left out ({why}).")
    return fitting


async def _waiting(url: str) -> int:
    """How many jobs wait."""
    broker = connect(url, NAME)
    try:
        return sum(queue.pending for queue in await inspect(broker).queues())
    finally:
        await broker.close()


async def drained(server: Server, jobs: int, warm: int) -> tuple[float, float, float]:
    """What a job costs server and worker processes, from the one after the first ``warm`` ones to the last."""
    server.forget_counts()
    with fleet(server, 1, clear=False) as workers:
        await until_done(server, warm)
        began, meter = server.finished(), Meter(server, workers.pid)
        await until_done(server, warm + jobs)
        return meter.read(server.finished() - began)


async def until_done(server: Server, jobs: int) -> None:
    deadline = time.monotonic() + _DRAIN_TIMEOUT
    while server.finished() < jobs:
        if time.monotonic() > deadline:
            raise Failed(f"{server.finished():,} of {jobs:,} jobs were done after {_DRAIN_TIMEOUT:g} s.")
        await asyncio.sleep(0.005)


async def measure(plan: Plan) -> list[Figure]:
    server = plan.server
    sizes = sizes_that_fit(plan, _SIZES, "pending jobs")
    plan.bar.expect(len(sizes) * plan.reps)
    costs = Costs("pending jobs")
    tasks = Tasks(server.url)
    server.clear()
    async with tasks.app:
        for size in sizes:
            plan.bar.tell(f"{size:,} pending jobs")
            await send(tasks, max(0, size - await _waiting(server.url)))
            for _ in plan.rounds():
                meter = Meter(server)
                await send(tasks, SAMPLE + WARM)
                costs.add(size, "send", "client", meter.read(SAMPLE + WARM))
                costs.add(size, "drain", "workers'", await drained(server, SAMPLE, WARM))
                # The worker ran some more until it was stopped.
                await send(tasks, max(0, size - await _waiting(server.url)))
    figures = costs.figures
    return figures + growth(figures, "send") + growth(figures, "drain")
