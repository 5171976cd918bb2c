"""What a call costs while one client awaits many."""

from __future__ import annotations

import asyncio
import gc

from aiotask import gather

from ..figure import Failed, Figure
from ..fleet import Fleet, fleet
from ..plan import Plan
from ..server import Server
from ..tasks import Tasks
from .cost import Costs, Meter, growth

__all__ = ["measure"]

_SIZES = (1_000, 10_000, 100_000)


async def _all_at_once(server: Server, workers: Fleet, tasks: Tasks, jobs: int) -> tuple[float, float, float]:
    """Send so many, await all of them, and only then let the worker begin; the cost from its beginning on."""
    gc.collect()
    with workers.held():
        results = [tasks.async_noop.apply_async(n) for n in range(jobs)]
        values = asyncio.ensure_future(gather(results))
        await tasks.app.flush()
        meter = Meter(server)
    if await values != list(range(jobs)):
        raise Failed("A caller got another caller's value.")
    return meter.read(jobs)


async def measure(plan: Plan) -> list[Figure]:
    sizes = [size for size in _SIZES if size <= plan.scale_max]
    plan.bar.expect(len(sizes) * plan.reps)
    costs = Costs("awaited at once")
    tasks = Tasks(plan.server.url)
    with fleet(plan.server, 1) as workers:
        async with tasks.app:
            await _all_at_once(plan.server, workers, tasks, 1_000)
            for size in sizes:
                plan.bar.tell(f"{size:,} awaited at once")
                for _ in plan.rounds():
                    # Few of them take too little time to be measured once.
                    often = max(1, 5_000 // size)
                    found = [await _all_at_once(plan.server, workers, tasks, size) for _ in range(often)]
                    middle = [sum(values) / often for values in zip(*found, strict=True)]
                    costs.add(size, "await", "client", middle)
    figures = costs.figures
    return figures + growth(figures, "await")
