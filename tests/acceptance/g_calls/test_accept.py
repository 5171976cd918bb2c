"""G4, G5, G6: a graph is accepted whole or not at all, whatever happens to its sender on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App, QueueFull, ResultExpired, Status, group
from aiotask.brokers.redis.keys import prefix

from ...client.sums import run_script
from ...helpers import wait_until, wait_until_async
from ...server import PrivateServer
from ...workers import ROOT, running_workers
from ..stage import Stage, staged


@pytest.fixture
def own_composed(own_server: PrivateServer, tmp_path: Path) -> Iterator[Stage]:
    """The tasks on a server of the test's own; no worker runs yet."""
    with (
        running_workers(tmp_path / "workers", own_server.url) as workers,
        staged("composed", workers, tmp_path / "ledger", own_server.url) as stage,
    ):
        yield stage


def graph_keys(server: PrivateServer) -> list[bytes]:
    return [key for key in server.call("KEYS", "*") if b":g:" in key]


def nodes_key(composed: Stage) -> str:
    return f"{prefix(composed.app.name)}nodes"


SENDER = """
import asyncio, sys
import tests.acceptance.apps.composed as composed
from aiotask import group

async def main():
    calls = group(composed.add.s(n) for n in range(30_000))
    print(calls.id, calls.members[0].id, flush=True)
    await calls.apply_async().sent()
    print("sent", flush=True)

asyncio.run(main())
"""


def test_g5_a_sender_that_is_killed_between_two_parts_has_sent_nothing(
    own_composed: Stage, own_server: PrivateServer
) -> None:
    own_composed.start(1)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER],
        cwd=ROOT,
        env={**os.environ, **own_composed.env, "AIOTASK_URL": own_server.url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sender.stdout is not None
        graph, first = sender.stdout.readline().split()
        wait_until(lambda: graph_keys(own_server), description="a part of the graph is there")
        own_server.pause()
        sender.send_signal(signal.SIGKILL)
        rest = sender.stdout.read()
    finally:
        own_server.resume()
        sender.kill()
        sender.communicate()
    assert rest == "", "The graph was sent before the sender could be killed."

    async def knows_nothing() -> None:
        app = App(own_composed.app.name, url=own_server.url)
        for id in (graph, first):
            with pytest.raises(ResultExpired):
                await app.result(id).status()
        add = app.named(own_composed.add.name)
        # What runs after this one would have run before it.
        assert await add.options(priority=9).apply_async(-1) == -1
        await app.client.close()

    asyncio.run(knows_nothing())
    assert len(own_composed.ledger.runs()) == 1


async def test_g5_a_server_that_is_full_in_the_middle_has_taken_nothing(
    own_composed: Stage, own_server: PrivateServer
) -> None:
    own_composed.start(1)
    await own_composed.add.apply_async(0)
    used = own_server.call("INFO", "memory")["used_memory"]
    own_server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_server.call("CONFIG", "SET", "maxmemory", used + 3_000_000)
    result = group(own_composed.add.s(n) for n in range(20_000)).apply_async()

    with pytest.raises(QueueFull, match="out of memory"):
        await result.sent()
    with pytest.raises(QueueFull):
        await result
    own_server.call("CONFIG", "SET", "maxmemory", 0)
    assert await own_composed.add.options(priority=9).apply_async(1) == 1
    with pytest.raises(ResultExpired):
        await own_composed.app.result(result.members[0].id).status()
    assert len(own_composed.ledger.runs()) == 2
    await own_composed.app.client.close()


async def test_g5_very_many_nodes_are_accepted(own_composed: Stage, own_server: PrivateServer, is_full: bool) -> None:
    count = 100_000 if is_full else 25_000
    call = own_composed.add.s(0, 1)
    for _ in range(count - 1):
        call = call.then(own_composed.add, 1)
    result = await asyncio.to_thread(call.apply_async)

    await result.sent()

    assert await result.status() is Status.WAITING
    assert own_server.call("HLEN", nodes_key(own_composed)) == count
    await own_composed.app.client.close()


async def test_g6_connections_that_break_while_a_graph_is_sent_make_no_second_one(
    own_composed: Stage, own_server: PrivateServer
) -> None:
    members = group(own_composed.add.s(n) for n in range(3_000))
    result = members.then(own_composed.total).apply_async()
    accepted = asyncio.ensure_future(result.sent())
    broken = 0
    while not accepted.done() and broken < 8:
        if graph_keys(own_server):
            broken += own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.005)
    await accepted
    assert broken > 0

    own_composed.start(2)
    assert await result == sum(range(3_000))

    counts = own_composed.ledger.counts()
    assert len(counts) == 3_001 and set(counts.values()) == {1}
    graph = await result.graph()
    assert len(graph.nodes) == 3_001 and {node.status for node in graph.nodes} == {"SUCCESS"}
    await own_composed.app.client.close()


async def test_g6_parts_that_the_server_has_lost_are_staged_anew(
    own_composed: Stage, own_server: PrivateServer
) -> None:
    result = group(own_composed.add.s(n) for n in range(12_000)).apply_async()
    accepted = asyncio.ensure_future(result.sent())
    [key] = await wait_until_async(lambda: graph_keys(own_server), description="a part of the graph is there")
    own_server.call("DEL", key)
    await accepted

    assert own_server.call("HLEN", nodes_key(own_composed)) == 12_000
    assert await result.members[0].status() is Status.PENDING
    await own_composed.app.client.close()


@pytest.mark.parametrize("count", [3, 2_000])
@pytest.mark.parametrize("end", ["", "sys.exit(3)"], ids=["at its end", "sys.exit"])
def test_an_interpreter_that_exits_right_after_a_graph_loses_nothing(
    tmp_path: Path, redis_url: str, app_name: str, count: int, end: str
) -> None:
    body = f"""
import aiotask
calls = aiotask.group(add.s(n) for n in range({count}))
print(calls.id)
calls.apply_async()
add.apply_async(7)
{end}
"""
    done = run_script(tmp_path, redis_url, app_name, body)
    assert done.stderr == ""

    async def seen() -> None:
        app = App(app_name, url=redis_url)
        graph = await app.graph(done.stdout.strip())
        assert len(graph.nodes) == count and {node.status for node in graph.nodes} <= {"PENDING", "WAITING"}
        await app.client.close()

    asyncio.run(seen())


def test_a_forked_child_leaves_the_graphs_of_its_parent_alone(tmp_path: Path, redis_url: str, app_name: str) -> None:
    body = """
result = add.s(add.s(1).cast).apply_async()
child = os.fork()
if not child:
    status = 9
    try:
        # The parent sends the graph.
        result.blocking.sent(timeout=20)
        status = 0 if result.blocking.status() == "WAITING" else 1
    finally:
        os._exit(status)
result.blocking.sent(timeout=20)
assert os.waitpid(child, 0)[1] == 0
assert result.blocking.status() == "WAITING"
"""
    done = run_script(tmp_path, redis_url, app_name, body)

    assert done.returncode == 0 and done.stderr == "", done.stderr
