"""What looking costs: the same on few jobs and on many, and once for however many look."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

import pytest

from aiotask import App
from aiotask.brokers.redis.keys import prefix
from aiotask.ops.connection import Place

from ..server import PrivateServer
from .site import site

PAGES = [
    *("/", "/jobs", "/jobs?status=pending", "/jobs?status=scheduled", "/jobs?status=running", "/jobs?status=parked"),
    *("/queues", "/queues/tiles", "/running", "/dead", "/tasks", "/workers", "/graphs", "/schedules", "/limits"),
    *("/audit", "/metrics", "/series.json"),
]
#: Milliseconds of a server command from which it would stand in the slow log.
SLOW = 5


class Cost(NamedTuple):
    """What the server was asked for: calls by command, and bytes of its answers."""

    calls: Counter[str]
    bytes: int


class Meter:
    """What the server has been asked for since the last reading."""

    def __init__(self, server: PrivateServer) -> None:
        self._server = server

    def read(self) -> Cost:
        # Setting the counts back is about the bytes, too: they are read before.
        written = int(self._server.call("INFO", "stats")["total_net_output_bytes"])
        stats = self._server.call("INFO", "commandstats")
        self._server.call("CONFIG", "RESETSTAT")
        own = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_ping")
        return Cost(Counter({name: int(stat["calls"]) for name, stat in stats.items() if name not in own}), written)


async def cost_of(pages: list[str], server: PrivateServer, app_name: str) -> dict[str, Cost]:
    """The cost of each page, asked by a dashboard that has just been started."""
    meter = Meter(server)
    found = {}
    for page in pages:
        async with site(Place(app_name, server.url)) as client:
            await client.get("/healthz")
            # Each page pays for the counts that all looks within two seconds share: else a slow run would count them
            # for other pages than a fast one.
            server.call("DEL", f"{prefix(app_name)}stats")
            meter.read()
            assert (await client.get(page)).status_code == 200
            found[page] = meter.read()
    return found


async def fill(app: App, number: int) -> None:
    """Send so many jobs, one in four of them for later."""
    task = app.named("shop:render", queue="tiles")
    later = task.options(delay=3600.0)
    for at in range(number):
        (later if at % 4 == 0 else task).apply_async(at)
        if at % 1000 == 999:
            await app.flush()
    await app.flush()


async def test_a_page_costs_the_same_with_many_jobs(own_server: PrivateServer, app_name: str, is_full: bool) -> None:
    app = App(app_name, url=own_server.url)
    async with app:
        await fill(app, 1000)
        few = await cost_of(PAGES, own_server, app_name)
        await fill(app, 1_000_000 if is_full else 20_000)
        own_server.call("CONFIG", "SET", "slowlog-log-slower-than", SLOW * 1000)
        own_server.call("SLOWLOG", "RESET")
        many = await cost_of(PAGES, own_server, app_name)
        slow = own_server.call("SLOWLOG", "GET", 10)

    # The slow log counts time in which the server got no CPU, so it says something in a run without other tests alone.
    assert not is_full or not slow, slow
    for page in PAGES:
        # The first look of an app at a server loads its scripts.
        said = f"{page}: {few[page]} with few jobs, {many[page]} with many"
        assert many[page].calls.total() <= few[page].calls.total() * 1.1 + 2, said
        assert many[page].bytes <= few[page].bytes * 1.1 + 4096, said


@pytest.mark.parametrize("page", ["/", "/queues"])
async def test_the_server_counts_once_however_many_look(own_server: PrivateServer, app_name: str, page: str) -> None:
    app = App(app_name, url=own_server.url)
    async with app:
        await fill(app, 100)
    meter = Meter(own_server)
    async with site(Place(app_name, own_server.url)) as client:
        assert (await client.get(page)).status_code == 200
        meter.read()
        alone = await client.get(page)
        one = meter.read().calls.total()
        answers = await asyncio.gather(*(client.get(page) for _ in range(20)))
        twenty = meter.read().calls.total()
    assert {answer.status_code for answer in [alone, *answers]} == {200}
    # What is kept for two seconds may run out once in between.
    assert twenty <= 4 * max(one, 8), f"{one} commands for one look, {twenty} for twenty"
