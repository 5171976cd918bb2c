"""What looking costs the server, in commands and bytes: the same for any number of jobs, and shared by all who look.

``AIOTASK_TEST_JOBS=1000000`` compares with as many pending jobs, which takes minutes to send.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiotask.broker import Broker
from aiotask.brokers import connect, inspect
from aiotask.brokers.bounds import STATS_AGE
from aiotask.brokers.redis.technology import REDIS
from aiotask.inspector import JobFilter
from aiotask.job import Status
from aiotask.ops.connection import Place
from aiotask.ops.jobs import read_page

from .seam import Worker, a_push, park, send
from .server import PrivateServer

#: Pending jobs of the two comparisons.
FEW, MANY = 1_000, int(os.environ.get("AIOTASK_TEST_JOBS", "30000"))
#: Milliseconds above which the server notes a command as slow.
SLOW = 5


async def cost(server: PrivateServer, look: Awaitable[Any]) -> tuple[int, int]:
    """Commands, those within scripts among them, and bytes that a look takes."""
    server.call("CONFIG", "RESETSTAT")
    await look
    stats = server.call("INFO", "commandstats")
    calls = sum(
        stat["calls"] for name, stat in stats.items() if not name.startswith(("cmdstat_config", "cmdstat_info"))
    )
    return calls, server.call("INFO", "stats")["total_net_output_bytes"]


def looks(broker: Broker, url: str, app: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    inspector = inspect(broker)
    statuses = (None, Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.RETRYING, Status.PARKED, Status.FAILED)
    pages = {
        f"page {status}": lambda status=status: inspector.page(JobFilter(status))  # type: ignore[misc]
        for status in statuses
    }
    return {
        **pages,
        "stats": lambda: inspector.stats(max_age=0.0),
        "shared stats": lambda: inspector.stats(STATS_AGE),
        "queues": inspector.queues,
        "sample": lambda: inspector.sample("default"),
        "dead letters by error": inspector.letters,
        "a page of all apps": lambda: read_page(Place(url=url), JobFilter(Status.RUNNING), "", 20),
        "a page far behind": lambda: inspector.page(JobFilter(Status.PENDING), "lq:default:9|"),
    }


async def test_a_look_costs_the_same_whatever_number_of_jobs_waits(own_server: PrivateServer, app_name: str) -> None:
    broker = connect(own_server.url, app_name)
    worker = await Worker(broker, "host.1").enlist()
    for n in range(3):
        await park(worker, f"parked-{n}", "task:x")
    await send(broker, *(f"run-{n}" for n in range(20)), *(a_push(f"due-{n}", delay=9e5) for n in range(60)))
    running = (await worker.claim(20)).deliveries
    for delivery in running[:5]:
        await worker.finish(delivery, status=Status.FAILED, dead=True)

    async def costs() -> dict[str, tuple[int, int]]:
        asked = looks(broker, own_server.url, app_name)
        for look in asked.values():
            await look()  # the scripts are on the server from now on
        own_server.call("CONFIG", "SET", "slowlog-log-slower-than", SLOW * 1000)
        own_server.call("SLOWLOG", "RESET")
        return {name: await cost(own_server, look()) for name, look in asked.items()}

    await send(broker, *(a_push(f"job-{n}", priority=n % 10) for n in range(FEW)))
    before = await costs()
    for start in range(FEW, MANY, 10_000):
        await send(broker, *(a_push(f"job-{n}", priority=n % 10) for n in range(start, min(MANY, start + 10_000))))
    after = await costs()
    slow = own_server.call("SLOWLOG", "GET", 10)
    await broker.close()

    dearer = {
        name: (before[name], after[name])
        for name in before
        if after[name][0] > before[name][0] * 1.1 + 5 or after[name][1] > before[name][1] * 1.1 + 500
    }
    assert dearer == {}
    assert before["shared stats"][0] <= 6, "a look that is shared reads what the first one has counted"
    if MANY >= 1_000_000:
        assert slow == []


async def test_the_server_counts_once_for_all_who_look(own_server: PrivateServer, app_name: str) -> None:
    brokers = [connect(own_server.url, app_name) for _ in range(20)]
    await send(brokers[0], *(a_push(f"job-{n}", f"queue-{n}") for n in range(22)))
    first = await inspect(brokers[0]).stats(STATS_AGE)

    own_server.call("CONFIG", "RESETSTAT")
    seen = [await inspect(broker).stats(max_age=600.0) for broker in brokers]
    stats = own_server.call("INFO", "commandstats")

    kept = own_server.call("EXISTS", f"aiotask1:{{{app_name}}}:stats")
    if kept and all(each.time == first.time for each in seen):
        assert seen == [first] * 20
        assert "cmdstat_xlen" not in stats and "cmdstat_smembers" not in stats
    else:
        # The machine was slow: counted anew after 2 s, but not for each of them.
        assert len({each.time for each in seen}) < 20

    await send(brokers[0], "one more")
    assert (await inspect(brokers[1]).stats(max_age=0.0)).pending == 23
    for broker in brokers:
        await broker.close()


async def test_where_the_counts_cannot_be_kept_each_look_counts(own_server: PrivateServer, app_name: str) -> None:
    broker = connect(own_server.url, app_name)
    await send(broker, "a")
    own_server.call("ACL", "SETUSER", "default", "-set", "-del")
    try:
        assert (await inspect(broker).stats()).pending == 1
        assert (await inspect(broker).queues())[0].pending == 1
        assert not own_server.call("EXISTS", f"aiotask1:{{{app_name}}}:stats")
    finally:
        own_server.call("ACL", "SETUSER", "default", "+@all")
        await broker.close()


def test_the_technology_names_its_apps_without_a_scan(own_server: PrivateServer) -> None:
    import asyncio

    async def names() -> list[str]:
        return await REDIS.namespaces(own_server.url)

    async def fill() -> None:
        for app in ("one", "two"):
            broker = connect(own_server.url, app)
            await send(broker, "a")
            await broker.close()

    asyncio.run(fill())
    asyncio.run(names())
    own_server.call("CONFIG", "RESETSTAT")
    assert asyncio.run(names()) == ["one", "two"]
    assert "cmdstat_scan" not in own_server.call("INFO", "commandstats")
