"""What a job costs the server, and what idle workers cost it, where there are many of them.

They are simulated: each is an incarnation with its own connections that claims and finishes as a worker does, all of
them in this process. So the CPU time of the server is that of real ones, and nothing else here is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiotask.broker import Broker, Delivery, Finish
from aiotask.brokers import connect
from aiotask.job import Status

from ..figure import Figure
from ..plan import Plan
from ..send import send
from ..server import Server
from ..tasks import NAME, Tasks
from .cost import Costs, Meter
from .pending import until_done

__all__ = ["measure"]

_SIZES = (1, 10, 50, 100, 200)
SAMPLE = 20_000
#: Jobs that are sent one by one, each to workers that are all idle.
_SINGLE = 300
#: Seconds for which idle workers are watched.
_IDLE = 2.0
_QUEUES = ("default",)
#: Jobs that a claim asks for; about what a worker does with no-op jobs.
_CLAIM = 100
#: As large as that of a no-op job.
_OUTCOME = bytes(130)


async def _work(broker: Broker, incarnation: str, host: str) -> None:
    """Until cancelled."""
    await broker.enlist(incarnation, host, b"\x80")
    while True:
        claim = await broker.claim(incarnation, _QUEUES, (), _CLAIM)
        if not claim.deliveries:
            claim = await broker.wait(incarnation, _QUEUES, (), 1.0)
        if claim.deliveries:
            await broker.finish(incarnation, [_ended(delivery) for delivery in claim.deliveries])


def _ended(delivery: Delivery) -> Finish:
    return Finish(delivery, _OUTCOME, Status.SUCCESS, 60.0)


@asynccontextmanager
async def _workers(url: str, count: int) -> AsyncIterator[list[asyncio.Task[None]]]:
    brokers = [connect(url, NAME) for _ in range(count)]
    work = [
        asyncio.create_task(_work(broker, f"simulated-{count}-{n}.1", f"simulated-{count}-{n}"))
        for n, broker in enumerate(brokers)
    ]
    try:
        # All of them have come to the read that blocks.
        await asyncio.sleep(0.5 + count / 200)
        yield work
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for broker in brokers:
            await broker.close()


async def _idle(server: Server) -> float:
    """The share of one core that the server uses while nothing is sent."""
    meter = Meter(server)
    await asyncio.sleep(_IDLE)
    busy, _, wall = meter.read(1)
    return busy / wall


async def _busy(server: Server, tasks: Tasks, jobs: int, idle: float, *, singly: bool) -> float:
    """Microseconds of the server's CPU per job, beyond what it uses anyway."""
    server.forget_counts()
    meter = Meter(server)
    if singly:
        for n in range(jobs):
            await tasks.async_noop.apply_async(n).sent()
    else:
        await send(tasks, jobs)
    await until_done(server, jobs)
    busy, _, wall = meter.read(jobs)
    return busy - idle * wall


async def measure(plan: Plan) -> list[Figure]:
    server = plan.server
    plan.bar.expect(len(_SIZES) * plan.reps)
    costs = Costs("workers")
    tasks = Tasks(server.url)
    async with tasks.app:
        for count in _SIZES:
            plan.bar.tell(f"{count:,} simulated workers")
            server.clear()
            async with _workers(server.url, count) as work:
                for _ in plan.rounds():
                    idle = await _idle(server)
                    costs.put(count, "idle: server CPU", "ms a second", 1000 * idle)
                    one = await _busy(server, tasks, _SINGLE, idle, singly=True)
                    costs.put(count, "jobs one by one: server CPU beyond that", "µs per job", one)
                    many = await _busy(server, tasks, SAMPLE, idle, singly=False)
                    costs.put(count, "jobs in bulk: server CPU beyond that", "µs per job", many)
                for each in work:
                    if each.done():
                        each.result()
    return costs.figures
