"""Schedules: 10,000 that are due at one moment, and what 100,000 cost that are not due."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import psutil

from aiotask.brokers import connect, schedules_of
from aiotask.parts.schedules import _Call, declaration
from aiotask.values.schedule import Spec

from ..figure import Failed, Figure
from ..fleet import Fleet, fleet
from ..plan import Plan
from ..server import Server
from .handover import MODULE
from .tasks import TimelyTasks

__all__ = ["measure"]

#: Due at one moment; and waiting; of ``--jobs`` 40,000.
_AT_ONCE, _WAITING = 10_000, 100_000
_BATCH = 500
#: Seconds until all of the first are sent, megabytes of the others, seconds of a measurement of CPU time.
_PROMISE, _MEMORY, _SPAN = 1.0, 50.0, 5.0
_TIMEOUT = 60.0


async def _set(tasks: TimelyTasks, prefix: str, count: int, spec: Spec) -> None:
    broker = schedules_of(connect(tasks.app.url, tasks.app.name))
    try:
        for start in range(0, count, _BATCH):
            numbers = range(start, min(count, start + _BATCH))
            call = _Call(tasks.ticked.definition, (), {})
            await broker.set_schedules([declaration(tasks.app, f"{prefix}{n}", spec, call) for n in numbers])
    finally:
        await broker.close()


async def _at_once(server: Server, tasks: TimelyTasks, keeper: psutil.Process, count: int) -> tuple[float, float]:
    """Seconds after a moment until the jobs of all schedules that are due then are sent; and the CPU seconds for it."""
    # A minute begins in twenty seconds at least, so that all are set by then.
    moment = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    await _set(tasks, "once", count, Spec(cron=f"{moment.minute} * * * *"))
    lane = server.key("q:ticks:5")
    deadline = moment.timestamp() + _TIMEOUT
    await _all_wait(server)
    if time.time() > moment.timestamp():
        raise Failed(f"{count} schedules were not set before their moment.")
    await asyncio.sleep(max(0.0, moment.timestamp() - time.time() - 0.2))
    before = server.cpu() + sum(keeper.cpu_times()[:2])
    while server.client.xlen(lane) < count:
        if time.time() > deadline:
            raise Failed(
                f"{server.client.xlen(lane)} of {count} scheduled jobs were sent {_TIMEOUT:g} s after their moment."
            )
        await asyncio.sleep(0.02)
    # By the clock of the server, which gives entries their numbers.
    [(entry, _)] = server.client.xrevrange(lane, count=1)
    used = server.cpu() + sum(keeper.cpu_times()[:2]) - before
    return int(entry.partition(b"-")[0]) / 1000 - moment.timestamp(), used


async def _all_wait(server: Server) -> None:
    """Return when the keeper has computed the next run of every schedule."""
    deadline = time.monotonic() + 5 * _TIMEOUT
    while due := server.client.zcount(server.key("fires"), "-inf", time.time()):
        if time.monotonic() > deadline:
            raise Failed(f"{due} schedules had no next run after {5 * _TIMEOUT:g} s.")
        await asyncio.sleep(0.1)


def _keeper(workers: Fleet) -> psutil.Process:
    [keeper] = [child for child in psutil.Process(workers.pid).children() if child.pid not in workers.pids]
    return keeper


async def _load(workers: Fleet) -> float:
    """Milliseconds of CPU time that the keeper takes in a second."""
    keeper = _keeper(workers)
    before = sum(keeper.cpu_times()[:2])
    await asyncio.sleep(_SPAN)
    return 1000 * (sum(keeper.cpu_times()[:2]) - before) / _SPAN


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    at_once, waiting = plan.scaled(_AT_ONCE, 250), plan.scaled(_WAITING, 2_500)
    late: list[float] = []
    spent: list[float] = []
    loads: list[float] = []
    idle: list[float] = []
    memory: list[float] = []
    for _ in plan.rounds():
        tasks = TimelyTasks(plan.server.url)
        # The jobs of the runs are left in their queue, to be counted.
        with fleet(plan.server, 1, "--queues", "default", module=MODULE) as workers:
            async with tasks.app:
                idle.append(await _load(workers))
                seconds, used = await _at_once(plan.server, tasks, _keeper(workers), at_once)
                late.append(seconds)
                spent.append(used)
                before = plan.server.used_memory()
                await _set(tasks, "later", waiting, Spec(cron="0 0 1 1 *"))
                await _all_wait(plan.server)
                memory.append((plan.server.used_memory() - before) / 1e6)
                loads.append(await _load(workers))
    return [
        Figure("schedules", f"{at_once:,} at one moment: until all jobs are sent", "s", late, _PROMISE, more=False),
        Figure("schedules", "CPU time of keeper and server for it", "s", spent, _PROMISE, more=False),
        Figure("schedules", f"{waiting:,} that wait: memory of the server", "MB", memory, _MEMORY, more=False),
        Figure("schedules", f"{waiting:,} that wait: CPU of the keeper", "ms/s", loads, more=False),
        Figure("schedules", "none that waits: CPU of the keeper", "ms/s", idle, more=False),
    ]
