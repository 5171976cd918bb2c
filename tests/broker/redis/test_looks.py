"""What looking costs the server, in commands: the same whatever number of jobs there is."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from aiotask.broker import BATCH_JOBS, Broker
from aiotask.brokers import connect, inspect
from aiotask.inspector import JobFilter
from aiotask.job import Status

from ...seam import Worker, a_push, send
from ...server import PrivateServer


async def commands(server: PrivateServer, look: Awaitable[Any]) -> int:
    """How many commands a look takes, those within scripts among them."""
    server.call("CONFIG", "RESETSTAT")
    await look
    stats = server.call("INFO", "commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_config|resetstat")


async def each_look(server: PrivateServer, broker: Broker) -> dict[str, int]:
    inspector = inspect(broker)
    costs = {"stats": await commands(server, inspector.stats())}
    for status in (None, Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.RETRYING):
        costs[f"page of {status}"] = await commands(server, inspector.page(JobFilter(status)))
    costs["page of a task"] = await commands(server, inspector.page(JobFilter(task="shop:none")))
    for after in ("lq:default:5|", "d4000000000.0 due"):
        costs[f"page behind {after}"] = await commands(server, inspector.page(after=after))
    return costs


async def test_a_look_at_many_jobs_costs_what_one_at_some_does(own_server: PrivateServer, app_name: str) -> None:
    broker = connect(own_server.url, app_name)
    worker = await Worker(broker, "host.1").enlist()
    await send(broker, *(f"run-{n}" for n in range(20)))
    await worker.claim()

    async def add(start: int, end: int) -> None:
        await send(broker, *(a_push(f"job-{n}", priority=n % 10) for n in range(start, end)))
        await send(broker, *(a_push(f"due-{n}", eta=4e9 + n % 7) for n in range(start, end)))

    await add(0, 40 * BATCH_JOBS)
    before = await each_look(own_server, broker)
    await add(40 * BATCH_JOBS, 120 * BATCH_JOBS)
    after = await each_look(own_server, broker)
    await broker.close()

    # The search for a place among twice as many takes one look more.
    assert {name: cost for name, cost in after.items() if cost > before[name] * 1.1 + 5} == {}
