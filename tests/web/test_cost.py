"""What looking costs: the same on few jobs and on many, and once for however many look."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from aiotask import App, Limit, ResultDB
from aiotask.brokers.redis.keys import prefix
from aiotask.contrib.web import Settings
from aiotask.ops.bulk import MOST_COUNTED
from aiotask.ops.connection import Place

from ..helpers import wait_until_async
from ..server import PrivateServer
from .site import site

PAGES = [
    *("/", "/jobs", "/jobs?status=pending", "/jobs?status=scheduled", "/jobs?status=running", "/jobs?status=parked"),
    *("/queues", "/queues/tiles", "/running", "/dead", "/tasks", "/workers", "/graphs", "/schedules", "/limits"),
    *("/audit", "/metrics", "/series.json", "/history", "/limits/mail"),
    *("/find?q={job}", "/jobs/{job}", "/jobs/{limited}", "/graphs/{graph}", "/dead/{letter}"),
]
#: They look for jobs, at more of them where there are more, up to a bound: commands of the server for each.
SEARCHES = {
    **dict.fromkeys(("/jobs?task=shop:mail", "/jobs?q={job}", "/tasks/shop:render", "/tasks/shop:mail"), 1_500),
    **dict.fromkeys(("/bulk?verb=cancel&queue=tiles", "/bulk?verb=move&queue=tiles&to=later"), 3 * MOST_COUNTED),
}
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


async def cost_of(server: PrivateServer, app_name: str, ids: Mapping[str, str], history: Path) -> dict[str, Cost]:
    """The cost of each page, asked by a dashboard that has just been started."""
    meter = Meter(server)
    found = {}
    for page in [*PAGES, *SEARCHES]:
        async with site(Place(app_name, server.url), settings=Settings(result_db=str(history))) as client:
            await client.get("/healthz")
            # Each page pays for the counts that all looks within two seconds share: else a slow run would count them
            # for other pages than a fast one.
            server.call("DEL", f"{prefix(app_name)}stats")
            meter.read()
            answer = await client.get(page.format_map(ids))
            assert answer.status_code == (303 if page.startswith("/find") else 200), f"{page}: {answer}"
            found[page] = meter.read()
    return found


async def fill(app: App, number: int) -> None:
    """Send ``number`` jobs. One in four is scheduled, and one in four belongs to a limit that has 100 keys."""
    task, mail = app.named("shop:render", queue="tiles"), app.named("shop:mail")
    later = task.options(delay=3600.0)
    for at in range(number):
        if at % 4 == 1:
            mail.apply_async(f"tenant-{at % 100}")
        else:
            (later if at % 4 == 0 else task).apply_async(at)
        if at % 1000 == 999:
            await app.flush()
    await app.flush()


async def first_ones(app: App, history: Path) -> dict[str, str]:
    """Send a job of each kind, and let one fail; their ids."""

    @app.task(name="shop:mail", queue="tiles", limit=Limit("mail", by="tenant", max_running_each=1))
    async def mail(tenant: str) -> None: ...

    @app.task(name="shop:fail", retries=1, backoff=lambda failures: 0.01)
    async def fail() -> None:
        raise ValueError("no leek")

    async with app.worker(result_db=str(history), queues=["default"]):
        failed = fail.apply_async()
        with pytest.raises(ValueError, match="no leek"):
            await failed.wait(timeout=60)
        await wait_until_async(lambda: _is_kept(history), description="the history has it")
    later = app.named("shop:render", queue="tiles")
    graph = later.s(later.s(1).cast).apply_async()
    sent = {"job": later.apply_async(0), "limited": mail.apply_async("tenant-1"), "graph": graph, "letter": failed}
    await app.flush()
    return {name: each.id for name, each in sent.items()}


async def _is_kept(history: Path) -> bool:
    async with ResultDB(history) as db:
        return history.exists() and await db.count() == 1


async def test_a_page_costs_the_same_with_many_jobs(
    own_server: PrivateServer, app_name: str, is_full: bool, tmp_path: Path
) -> None:
    app, history = App(app_name, url=own_server.url), tmp_path / "results.db"
    async with app:
        ids = await first_ones(app, history)
        await fill(app, 1000)
        few = await cost_of(own_server, app_name, ids, history)
        await fill(app, 1_000_000 if is_full else 20_000)
        own_server.call("CONFIG", "SET", "slowlog-log-slower-than", SLOW * 1000)
        own_server.call("SLOWLOG", "RESET")
        many = await cost_of(own_server, app_name, ids, history)
        slow = own_server.call("SLOWLOG", "GET", 10)

    # The slow log counts time in which the server got no CPU, so it says something in a run without other tests alone.
    assert not is_full or not slow, slow
    for page in PAGES:
        # The first look of an app at a server loads its scripts.
        said = f"{page}: {few[page]} with few jobs, {many[page]} with many"
        assert many[page].calls.total() <= few[page].calls.total() * 1.1 + 2, said
        assert many[page].bytes <= few[page].bytes * 1.1 + 4096, said
    for page, most in SEARCHES.items():
        assert many[page].calls.total() <= most and many[page].bytes <= 300 * most, f"{page}: {many[page]}"


@pytest.mark.parametrize("page", ["/", "/queues"])
async def test_the_server_counts_once_however_many_look(
    own_server: PrivateServer, app_name: str, page: str, tmp_path: Path
) -> None:
    app = App(app_name, url=own_server.url)
    async with app:
        await first_ones(app, tmp_path / "results.db")
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
