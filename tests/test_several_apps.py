"""Commands on a server that several apps share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from aiotask import App
from aiotask.broker import Settled
from aiotask.brokers import connect, graphs_of
from aiotask.inspector import JobFilter
from aiotask.ops import graphs, jobs, letters
from aiotask.ops.connection import Place
from aiotask.ops.paging import page_of_all

from .commands import run_command
from .graphs import end, node, send_graph
from .seam import Worker, a_push, finish, send
from .server import PrivateServer
from .workers import Workers


def command(server: PrivateServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, "--url", server.url)


def parsed(server: PrivateServer, *arguments: str) -> Any:
    return json.loads(command(server, *arguments, "--json").stdout)


async def sends(server: PrivateServer, name: str, count: int, queue: str = "default") -> None:
    app = App(name, url=server.url)
    async with app:
        for number in range(count):
            app.s("test:task", number).apply_async()
            assert queue == "default"


@pytest.fixture
async def three_apps(own_server: PrivateServer) -> PrivateServer:
    """Apps with 3, 0 and 4 unfinished jobs; the second one left its name only."""
    await sends(own_server, "one", 3)
    await sends(own_server, "three", 4)
    broker = connect(own_server.url, "two")
    worker = await Worker(broker, "host.1").enlist()
    await send(broker, "done")
    [delivery] = (await worker.claim()).deliveries
    await broker.finish("host.1", [finish(delivery)])
    await broker.declare_dead("host")
    await broker.close()
    return own_server


async def test_a_page_counts_the_jobs_of_all_apps(three_apps: PrivateServer) -> None:
    every = [job["id"] for job in parsed(three_apps, "jobs")]
    assert len(every) == len(set(every)) == 7

    for limit in (1, 2, 3, 5, 7, 20):
        pages: list[list[dict[str, Any]]] = []
        after: list[str] = []
        while not pages or after:
            pages.append(parsed(three_apps, "jobs", "--limit", str(limit), *after))
            after = ["--after", pages[-1][-1]["after"]] if pages[-1] and "after" in pages[-1][-1] else []
        assert [job["id"] for job in chain(*pages)] == every, f"pages of {limit}"
        assert all(len(page) == limit for page in pages[:-1])


async def test_a_page_counts_the_dead_letters_of_all_apps(own_server: PrivateServer) -> None:
    for name, count in (("one", 3), ("three", 4)):
        broker = connect(own_server.url, name)
        worker = await Worker(broker, "host.1").enlist()
        await send(broker, *(f"{name}-{number}" for number in range(count)))
        deliveries = (await worker.claim()).deliveries
        assert len(deliveries) == count
        for delivery in deliveries:
            assert await worker.finish(delivery, dead=True) is Settled.DONE
        await broker.close()

    every = [letter["id"] for letter in parsed(own_server, "dead", "list")]
    assert len(every) == len(set(every)) == 7
    for listed in (["dead", "list"], ["dead", "list", "--since", "1h"]):
        asked = [parsed(own_server, *listed, "--limit", "2")]
        while after := asked[-1][-1].get("after"):
            asked.append(parsed(own_server, *listed, "--limit", "2", "--after", after))
        assert [[letter["id"] for letter in page] for page in asked] == [every[:2], every[2:4], every[4:6], every[6:]]


async def test_a_page_of_graphs_has_those_of_all_apps_in_one_order(own_server: PrivateServer) -> None:
    for name, graph in (("one", "a"), ("two", "b"), ("one", "c"), ("two", "d")):
        broker = graphs_of(connect(own_server.url, name))
        worker = await Worker(broker, "host.1").enlist()
        await send_graph(broker, graph, [node(1, id=f"{graph}1")])
        [delivery] = (await worker.claim()).deliveries
        await end(worker, graph, delivery, 1)
        await broker.close()
    for name in ("one", "two"):
        broker = graphs_of(connect(own_server.url, name))
        await send_graph(broker, f"runs-{name}", [node(1, id=f"r-{name}")])
        await broker.close()

    listed = [graph["id"] for graph in await graphs.read_page(Place(url=own_server.url), 20, 0)]
    pages = [await graphs.read_page(Place(url=own_server.url), 1, offset) for offset in range(7)]

    assert listed == ["runs-one", "runs-two", "d", "c", "b", "a"]
    assert [[graph["id"] for graph in page] for page in pages] == [*([id] for id in listed), []]


async def test_a_page_of_dead_letters_has_those_of_all_apps_in_one_order(own_server: PrivateServer) -> None:
    for number, name in enumerate(("one", "two", "one", "two")):
        broker = connect(own_server.url, name)
        worker = await Worker(broker, "host.1").enlist()
        await send(broker, f"dead-{number}")
        [delivery] = (await worker.claim()).deliveries
        await worker.finish(delivery, dead=True)
        await broker.close()
    for id, name, priority in (("a", "one", 9), ("b", "two", 1), ("c", "one", 2), ("d", "two", 8)):
        broker = connect(own_server.url, name)
        await send(broker, a_push(id, priority=priority))
        await broker.close()

    url = own_server.url
    for wanted in (letters.Filter(), letters.Filter(since=1.0)):
        page = await letters.read_page(Place(url=url), wanted, "", 20)
        assert [letter["id"] for letter in page] == [f"dead-{n}" for n in (3, 2, 1, 0)]
    # Jobs are listed app by app, so that a place in one list is enough to go on.
    assert [job["id"] for job in await jobs.read_page(Place(url=url), JobFilter(), "", 20)] == ["c", "a", "b", "d"]


async def test_a_page_reads_no_more_of_an_app_than_could_stand_on_it() -> None:
    read: dict[str, int] = {"full": 0, "empty": 0}

    async def numbers(connection: Any, limit: int, offset: int) -> list[int]:
        read[connection] += limit
        return list(range(offset, offset + limit)) if connection == "full" else []

    apps: list[Any] = ["full", "empty"]
    page = await page_of_all(apps, numbers, lambda number: number, 20, 300)

    assert page == [("full", number) for number in range(300, 320)]
    assert read == {"full": 320, "empty": 50}


async def test_an_app_that_left_only_its_name_is_not_shown(three_apps: PrivateServer) -> None:
    assert [app["app"] for app in parsed(three_apps, "queues")] == ["one", "three"]
    assert [app["app"] for app in parsed(three_apps, "queues", "--all")] == ["one", "three", "two"]
    assert [app["app"] for app in parsed(three_apps, "queues", "--name", "two")] == ["two"]

    people = command(three_apps, "queues").stdout
    assert "Apps without workers and jobs: two" in people and "--all" in people
    checks = {check["name"]: check for check in parsed(three_apps, "doctor")["checks"]}
    assert "two" in checks["idle apps"]["detail"] and "two: workers" not in checks and "one: workers" in checks


async def test_all_dead_letters_of_several_apps_are_not_moved_without_a_name(own_server: PrivateServer) -> None:
    for name in ("one", "two"):
        broker = connect(own_server.url, name)
        worker = await Worker(broker, "host.1").enlist()
        await send(broker, "letter")
        [delivery] = (await worker.claim()).deliveries
        await broker.finish("host.1", [finish(delivery, dead=True)])
        await broker.close()

    for verb in ("replay", "delete"):
        refused = command(own_server, "dead", verb, "--all", "--yes")
        assert refused.returncode == 2
        assert "one, two" in refused.stderr and f"aiotask dead {verb} --all --name NAME" in refused.stderr
    assert len(parsed(own_server, "dead", "list")) == 2

    assert command(own_server, "dead", "delete", "--all", "--yes", "--name", "one").returncode == 0
    assert [letter["app"] for letter in parsed(own_server, "dead", "list")] == ["two"]


async def test_doctor_names_a_queue_that_no_live_worker_consumes(
    workers: Workers, own_server: PrivateServer, app_name: str
) -> None:
    workers.url = own_server.url
    workers.start("tests.acceptance.apps.calls", env={"TEST_APP": app_name})
    app = App(app_name, url=own_server.url)

    @app.task(name="tests.acceptance.apps.calls:add")
    def add(a: int, b: int) -> int:
        return a + b

    async with app:
        add.options(queue="mial").apply_async(1, 2)

    [check] = [check for check in parsed(own_server, "doctor")["checks"] if check["name"] == f"{app_name}: queue"]
    assert check["state"] == "warn" and "queue mial and 1 job waits in it" in check["detail"]
    assert "--queues mial" in check["fix"]


async def test_a_stop_of_the_embedded_server_names_the_workers_that_will_wait(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    home = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    env = {**os.environ, "AIOTASK_HOME": str(home), "AIOTASK_EMBEDDED": "1"}
    env.pop("AIOTASK_URL", None)
    run = [sys.executable, "-m", "aiotask_cli", "server"]

    def server(verb: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*run, verb, *flags], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    try:
        url = json.loads(server("start", "--json").stdout)["url"]
        workers.url = url
        supervisor = workers.start("tests.acceptance.apps.calls", env={"TEST_APP": app_name})

        stopped = server("stop")

        assert stopped.returncode == 0 and "Stopped." in stopped.stdout
        assert "1 worker will wait until the server is started again" in stopped.stderr
        server("start")
        assert supervisor.stop() == 0
        assert server("stop").stderr == ""
    finally:
        server("stop")
        shutil.rmtree(home, ignore_errors=True)


MODULE = """
import os
import time

from aiotask import App

app = App("{name}", url=os.environ["AIOTASK_URL"])


@app.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "{name}"


@app.task
def at_once() -> str:
    return "{name}"
"""


async def test_an_app_has_its_jobs_run_after_those_of_another_app_have_taken_all_threads(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    """Its claim loop finds no room meanwhile, and no job of its own ends that would have it look again."""
    names = [f"{app_name}-{part}" for part in ("one", "two")]
    for number, name in enumerate(names):
        (tmp_path / f"several_{number}.py").write_text(MODULE.format(name=name))
    workers.start("several_0", "several_1", app_dir=tmp_path)
    one, two = (App(name, url=workers.url) for name in names)
    async with one, two:
        # Longer than a blocking claim, so that the other app's loop looks for room while the thread is taken.
        assert await one.s("several_0:nap", 2.5).apply_async() == names[0]
        assert await two.s("several_1:at_once").apply_async().wait(30) == names[1]


async def test_a_process_that_starts_runs_the_suspects_of_its_apps_first(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    """Whatever worker was asked to become idle for them: that one is busy, or its host has died just now."""
    names = [f"{app_name}-{part}" for part in ("one", "two")]
    for number, name in enumerate(names):
        (tmp_path / f"several_{number}.py").write_text(MODULE.format(name=name))
    async with App(names[0], url=workers.url) as one:
        result = one.s("several_0:at_once").apply_async()
        broker = connect(workers.url, names[0])
        gone = await Worker(broker, "gone.1").enlist()
        assert [each.id for each in (await gone.claim()).deliveries] == [result.id]
        await broker.recover("gone.1", blame=[result.id], reason="died")
        busy = await Worker(broker, "busy.1").enlist()
        assert (await busy.claim()).suspects
        workers.start("several_0", "several_1", app_dir=tmp_path)
        assert await result.wait(30) == names[0]
        assert "busy" in await broker.leases(), "the job has not waited until that host was declared dead"
        await broker.close()
