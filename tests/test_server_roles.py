"""Replicas, Sentinels and nodes of a cluster: ``aiotask doctor`` and errors say what the server is and what to do."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import App
from aiotask.brokers import connect, inspect
from aiotask.brokers.redis.keys import prefix
from aiotask.errors import BrokerError, ConnectionLost
from aiotask.ops.checks import Check, State, check_all
from aiotask.ops.connection import Place

from .commands import run_command
from .helpers import wait_until
from .server import PrivateServer

MakeServer = Callable[..., PrivateServer]

NAME = "roles"


async def double(number: int) -> int:
    return 2 * number


@pytest.fixture(scope="module", params=["redis", "valkey"])
def make_server(request: pytest.FixtureRequest) -> Iterator[MakeServer]:
    """Starts servers of one kind: they live as long as the tests of this module."""
    made: list[PrivateServer] = []

    def make(*options: str, config: str = "") -> PrivateServer:
        server = PrivateServer(*options, kind=request.param, config=config)
        made.append(server)
        server.start()
        return server

    try:
        yield make
    finally:
        for server in made:
            server.remove()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def master_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def master(make_server: MakeServer, master_port: int) -> PrivateServer:
    return make_server("--port", str(master_port))


@pytest.fixture(scope="module")
def replica(make_server: MakeServer, master: PrivateServer, master_port: int) -> PrivateServer:
    return make_server("--replicaof", f"127.0.0.1 {master_port}")


@pytest.fixture(scope="module")
def sentinel(make_server: MakeServer, master: PrivateServer, master_port: int) -> PrivateServer:
    config = f"sentinel monitor shopmaster 127.0.0.1 {master_port} 1\n"
    return make_server("--sentinel", "--port", str(free_port()), config=config)


def start_node(make_server: MakeServer, *slots: int) -> tuple[PrivateServer, int]:
    """A node of a cluster that serves the slots from the first to the last one given, and its port."""
    port = free_port()
    options = ("--cluster-enabled", "yes", "--port", str(port), "--cluster-port", str(free_port()))
    server = make_server(*options)
    if slots:
        server.call("CLUSTER", "ADDSLOTSRANGE", *slots)
    return server, port


def info(server: PrivateServer) -> str:
    reply = server.call("CLUSTER", "INFO")
    return reply.decode() if isinstance(reply, bytes) else str(reply)


@pytest.fixture(scope="module")
def cluster(make_server: MakeServer) -> tuple[PrivateServer, int]:
    """The only node of a cluster, and its port."""
    node, port = start_node(make_server, 0, 16383)
    wait_until(lambda: "cluster_state:ok" in info(node), description="the cluster is up")
    return node, port


@pytest.fixture
def only_node(cluster: tuple[PrivateServer, int]) -> PrivateServer:
    return cluster[0]


async def doctor(server: PrivateServer) -> list[Check]:
    return await check_all(Place(NAME, server.url), None, lambda: [])


async def role_of(server: PrivateServer) -> Check:
    (found,) = [check for check in await doctor(server) if check.state is State.FAIL]
    assert found.name == "role"
    return found


async def refusal_of(server: PrivateServer) -> BrokerError:
    """The error of an app that sends a job there."""
    async with App(NAME, url=server.url) as app:
        with pytest.raises(BrokerError) as refused:
            await app.task(double).apply_async(1).sent()
    return refused.value


def run_doctor(server: PrivateServer, *options: str) -> tuple[int, str]:
    done = run_command("doctor", "--url", server.url, *options)
    return done.returncode, done.stdout


# ---- a replica


async def test_doctor_names_the_master_of_a_replica(replica: PrivateServer, master_port: int) -> None:
    found = await role_of(replica)

    assert found.detail == f"it is a replica of 127.0.0.1:{master_port}: jobs cannot be written to it"
    assert "Use the address of the master" in found.fix


async def test_doctor_fails_at_a_replica_that_can_be_written(replica: PrivateServer) -> None:
    replica.call("CONFIG", "SET", "replica-read-only", "no")
    try:
        assert "jobs that are written to it are lost" in (await role_of(replica)).detail
    finally:
        replica.call("CONFIG", "SET", "replica-read-only", "yes")


async def test_the_error_at_a_replica_names_its_master_and_may_pass(replica: PrivateServer, master_port: int) -> None:
    refused = await refusal_of(replica)

    # A replica may be promoted: clients and workers try again.
    assert type(refused) is ConnectionLost
    assert f'The server at "{replica.url}" is a replica of 127.0.0.1:{master_port}' in str(refused)
    assert "Use the address of the master" in str(refused)


async def test_doctor_has_nothing_against_the_master(master: PrivateServer, replica: PrivateServer) -> None:
    assert not [check for check in await doctor(master) if check.state is State.FAIL]


def test_the_command_fails_at_a_replica(replica: PrivateServer, master_port: int) -> None:
    code, said = run_doctor(replica)
    assert code == 1
    assert re.search(rf"^× role +it is a replica of 127\.0\.0\.1:{master_port}", said, re.MULTILINE), said  # noqa: RUF001

    code, said = run_doctor(replica, "--json")
    assert code == 1
    told: dict[str, Any] = json.loads(said)
    assert not told["ok"] and [check["name"] for check in told["checks"] if check["state"] == "fail"] == ["role"]


def test_a_worker_at_a_replica_says_so(replica: PrivateServer, master_port: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        worker = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", "examples.readme", "-c", "1", "--url", replica.url],
            stdout=stream,
            stderr=stream,
        )
        try:
            expected = f"is a replica of 127.0.0.1:{master_port}: jobs cannot be written to it"
            wait_until(lambda: expected in log.read_text(), description="the worker says what the server is")
        finally:
            worker.terminate()
            worker.wait(timeout=60)


# ---- a Sentinel


@pytest.mark.parametrize("name", [None, NAME], ids=["all apps", "one app"])
async def test_doctor_names_the_master_that_a_sentinel_watches(
    sentinel: PrivateServer, master_port: int, name: str | None
) -> None:
    checks = await check_all(Place(name, sentinel.url), None, lambda: [])

    (found,) = [check for check in checks if check.state is State.FAIL]
    assert found.name == "role"
    watched = f'it watches the master "shopmaster" at 127.0.0.1:{master_port}'
    assert found.detail == f"it is a Sentinel, which keeps no jobs; {watched}"
    assert "Use the address of the master" in found.fix and "aiotask does not ask Sentinels" in found.fix


async def test_the_error_at_a_sentinel_names_the_master(sentinel: PrivateServer, master_port: int) -> None:
    refused = await refusal_of(sentinel)

    assert type(refused) is BrokerError
    assert "is a Sentinel, which keeps no jobs" in str(refused) and f"127.0.0.1:{master_port}" in str(refused)


# ---- a cluster


async def test_a_cluster_of_one_node_runs_jobs(only_node: PrivateServer) -> None:
    app = App(NAME, url=only_node.url)
    task = app.task(double)
    async with app, app.worker():
        delayed = task.options(delay=0.01).apply_async(21)
        assert await task.apply_async(2).wait(30) == 4
        assert await delayed.wait(30) == 42


async def test_doctor_warns_of_a_cluster_of_one_node(only_node: PrivateServer) -> None:
    checks = await doctor(only_node)

    assert not [check for check in checks if check.state is State.FAIL]
    (said,) = [check.detail for check in checks if check.name == "server says" and "cluster" in check.detail]
    assert "serves all slots" in said


async def test_jobs_of_another_node_are_not_sent_after_it(make_server: MakeServer) -> None:
    here, port = start_node(make_server, 0, 8191)
    there, other = start_node(make_server)
    here.call("CLUSTER", "MEET", "127.0.0.1", other, here_bus(there))
    there.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    for node in (here, there):
        wait_until(lambda node=node: "cluster_slots_assigned:16384" in info(node), description="both know all slots")
        wait_until(lambda node=node: "cluster_state:ok" in info(node), description="the cluster is up")
    slot = here.call("CLUSTER", "KEYSLOT", prefix(NAME))
    mine, others, port = (here, there, port) if slot < 8192 else (there, here, other)

    warned = [check.detail for check in await doctor(mine) if check.name == "server says"]
    assert any("one node of a cluster" in detail for detail in warned)
    found = await role_of(others)
    belongs = f'is a node of a cluster, and the keys of app "roles" (slot {slot}) belong to the node 127.0.0.1:{port}'
    assert found.detail == f"it {belongs}"
    assert "aiotask does not follow redirects" in found.fix
    assert f'The server at "{others.url}" {belongs}' in str(await refusal_of(others))

    # Without a name, doctor asks about an app that the node has: "default" belongs to the other node.
    assert here.call("CLUSTER", "KEYSLOT", prefix("default")) < 8192 <= here.call("CLUSTER", "KEYSLOT", prefix("tiles"))
    async with App("tiles", url=there.url) as app:
        await app.task(double).apply_async(1).sent()
    assert not [check for check in await check_all(Place(url=there.url), None, lambda: []) if check.state is State.FAIL]


def here_bus(node: PrivateServer) -> int:
    """The port at which other nodes meet this one."""
    return int(node.call("CONFIG", "GET", "cluster-port")[1])


async def test_a_slot_without_a_node_is_named(make_server: MakeServer) -> None:
    node, _ = start_node(make_server)
    slot = node.call("CLUSTER", "KEYSLOT", prefix(NAME))
    node.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
    node.call("CLUSTER", "ADDSLOTS", (slot + 1) % 16384)
    wait_until(lambda: "cluster_state:ok" in info(node), description="the cluster is up")

    said = f"is a node of a cluster in which no node serves slot {slot}"
    assert said in (await role_of(node)).detail
    assert said in str(await refusal_of(node))


async def test_a_cluster_has_one_database(cluster: tuple[PrivateServer, int]) -> None:
    broker = connect(f"redis://127.0.0.1:{cluster[1]}/1", NAME)
    try:
        with pytest.raises(BrokerError) as refused:
            await broker.open()
    finally:
        await broker.close()
    assert "has no such database" in str(refused.value) and "nodes of a cluster have /0 alone" in str(refused.value)


async def test_facts_of_a_usual_server_say_that_it_fits(master: PrivateServer) -> None:
    broker = connect(master.url, NAME)
    try:
        facts = await inspect(broker).facts()
    finally:
        await broker.close()
    assert (facts.unfit, facts.remedy) == ("", "")
