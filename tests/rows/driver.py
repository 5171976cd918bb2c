"""A worker and a keeper over rows in the loop of a test: aiotask's own, around the broker of an app's rows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiotask import App, ConnectionLost
from aiotask.broker import Broker
from aiotask.brokers.sql import connect
from aiotask.inloop.worker import host_id
from aiotask.keeper.keeper import Keeper
from aiotask.log.events import EventLog
from aiotask.worker.executor import Guard, call_sync
from aiotask.worker.membership import Membership
from aiotask.worker.run import NoBoard
from aiotask.worker.seats import Seats
from aiotask.worker.stop_condition import StopCondition
from aiotask.worker.surroundings import Served, Surroundings
from aiotask.worker.sync_lane import SyncLane
from aiotask.worker.worker import Worker

__all__ = ["work", "working"]

_numbers = itertools.count()


@asynccontextmanager
async def working(
    app: App, *, threads: int = 1, burst: bool = False, host: str = ""
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker of an app's rows, and a keeper that knows only what travels; the task ends with the worker."""
    rows = app.rows
    assert rows is not None
    host = host or host_id()
    broker, board, lane, guard = rows.broker(), NoBoard(), SyncLane(), Guard()
    served = Served(rows.registry, rows.secrets, rows.serializer, rows.queues, middleware=app.hooks)
    facts: dict[str, object] = {"queues": rows.queues}
    member = Membership(broker, board, host=host, number=str(next(_numbers)), facts=facts, recorded=False)
    around = Surroundings(lane, board, Seats(100), until=StopCondition(burst=burst))
    worker = Worker(served, broker, member, around, EventLog("aiotask"))
    await _open(broker)
    keeper = Keeper(connect(rows.facts(), app.name), app.name, rows.secrets, host)
    keeping = asyncio.create_task(keeper.run())
    for number in range(threads):
        serve = lambda run: call_sync(run, rows.serializer, board, guard)  # noqa: E731
        threading.Thread(target=lane.serve, args=(100 + number, serve), daemon=True).start()
    running = asyncio.create_task(worker.run())
    try:
        yield running
    finally:
        worker.stop()
        await running
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        with contextlib.suppress(Exception):
            await keeper.leave(())
        await keeper.close()
        await broker.close()
        lane.stop()


async def work(app: App, *, threads: int = 1) -> None:
    """Run what is there."""
    async with working(app, threads=threads, burst=True) as running:
        await running


async def _open(broker: Broker) -> None:
    """Open it as a worker process does, which goes on trying while its server restarts."""
    while True:
        try:
            return await broker.open()
        except ConnectionLost:
            await asyncio.sleep(0.05)
