"""Graphs on a Redis server: what is left there, a full server, other releases, keys that others wrote or deleted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from aiotask.broker import Broker, Replayed, Settled
from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import Conclusion, Graphs, GraphsDue, Taken
from aiotask.errors import BrokerError, QueueFull
from aiotask.job import RELEASE, Job, More, Status, encode_job
from aiotask.keeper.keeper import Keeper
from aiotask.values.flow import Flow
from aiotask.wire.seal import OVERHEAD

from ...graphs import Run, accept, advance_all, chain, end, ending, node, parts, send_graph
from ...helpers import wait_until_async
from ...seam import GONE, Worker, ids, is_unknown, send, status_of
from ...server import PrivateServer

Call = Callable[..., Any]


@pytest.fixture
async def graphs(own_server: PrivateServer) -> AsyncIterator[Graphs]:
    broker: Broker = connect(own_server.url, "graphs")
    yield graphs_of(broker)
    await broker.close()


@pytest.fixture
async def worker(graphs: Graphs) -> Worker:
    return await Worker(graphs, "host.1").enlist()


def key(name: str) -> str:
    return f"aiotask1:{{graphs}}:{name}"


def keys_of_graphs(server: PrivateServer) -> set[str]:
    """What is on the server of graphs, and outcomes that stay for ever."""
    names = {name.decode().removeprefix(key("")) for name in server.call("KEYS", key("*"))}
    kept = {name for name in names if name.startswith("r:") and server.call("TTL", key(name)) < 0}
    return {name for name in names if name.startswith(("g:", "nodes", "agenda", "graphs"))} | kept


def make_due(server: PrivateServer) -> None:
    """The time of every graph has come."""
    for name in server.call("ZRANGE", key("graphs"), 0, -1):
        server.call("ZADD", key("graphs"), 1, name)


# ---- what is left


async def test_a_graph_that_ended_well_is_dropped(own_server: PrivateServer, graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n700", [*(node(n) for n in range(1, 700)), node(700, *range(1, 700))])
    await Run(worker, "n700", {f"n{n}": n for n in range(1, 701)}).to_its_end()
    assert keys_of_graphs(own_server) == {"g:n700", "graphs"}

    make_due(own_server)
    await graphs.advance()
    await advance_all(graphs)

    assert keys_of_graphs(own_server) == set()


async def test_the_values_of_a_graph_that_ended_badly_go_with_it(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n2", chain(2))
    await Run(worker, "n2", {"n1": 1, "n2": 2}, ["n2"]).to_its_end()
    assert "r:n1" in keys_of_graphs(own_server)
    [(_, at)] = [own_server.call("ZRANGE", key("graphs"), 0, -1, "WITHSCORES")]
    seconds, _ = own_server.call("TIME")
    assert 86_000 < float(at) - int(seconds) <= 86_401

    make_due(own_server)
    await graphs.advance()
    await advance_all(graphs)

    assert keys_of_graphs(own_server) == set()


async def test_a_graph_that_is_not_accepted_is_dropped(own_server: PrivateServer, graphs: Graphs) -> None:
    await accept(graphs, parts("n900", chain(900))[:-1])
    seconds, _ = own_server.call("TIME")
    assert 110 < float(own_server.call("ZSCORE", key("graphs"), "n900")) - int(seconds) <= 121

    make_due(own_server)
    await graphs.advance()
    await advance_all(graphs)

    assert keys_of_graphs(own_server) == set()


async def test_a_graph_that_waits_costs_no_commands(own_server: PrivateServer, graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n300", chain(300))
    await graphs.advance()

    await graphs.advance()

    assert own_server.call("LLEN", key("agenda")) == 0


async def test_a_keeper_sends_nothing_for_graphs_where_there_are_none_and_goes_on_with_what_is_left(
    own_server: PrivateServer, graphs: Graphs
) -> None:
    def calls(command: str) -> int:
        found = own_server.call("INFO", "commandstats").get(f"cmdstat_{command}")
        return found["calls"] if found else 0

    # Before the first one it is not known, and the keeper looks.
    await graphs.promote()
    own_server.call("CONFIG", "RESETSTAT")
    keeper = asyncio.create_task(Keeper(graphs, "graphs", ["secret"], "host").run())
    try:
        await wait_until_async(lambda: calls("zrange") >= 8, description="the keeper has looked for due jobs")
        assert (calls("lpop"), calls("hrandfield"), calls("type")) == (0, 0, 0)

        # The sources are too many for one call, and the sender does not go on: the keeper opens them.
        await accept(graphs, parts("n2000", [*(node(n) for n in range(1, 2000)), node(2000, *range(1, 2000))]))

        await wait_until_async(
            lambda: own_server.call("XLEN", key("q:default:5")) == 1999, description="every source is ready"
        )
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def test_promote_says_whether_there_are_graphs(graphs: Graphs, worker: Worker) -> None:
    await graphs.promote()
    assert graphs.graphs_due is GraphsDue.NONE

    await accept(graphs, parts("n2000", [*(node(n) for n in range(1, 2000)), node(2000, *range(1, 2000))]))
    await graphs.promote()
    assert graphs.graphs_due is GraphsDue.NOW

    await advance_all(graphs)
    await graphs.promote()
    assert graphs.graphs_due is GraphsDue.LATER


async def test_a_late_part_of_an_earlier_staging_changes_nothing(graphs: Graphs, worker: Worker) -> None:
    earlier, anew = parts("n900", chain(900)), parts("n900", chain(900))
    await accept(graphs, earlier[:2])
    await accept(graphs, anew[:-1])

    assert await graphs.push_graph("late", 1, earlier[1]) is Taken.MISSING

    assert await accept(graphs, anew[-1:]) is Taken.DONE
    await advance_all(graphs)
    assert ids(await worker.claim()) == ["n1"]
    assert await status_of(graphs, "n900") is Status.WAITING


# ---- a full server


@contextlib.contextmanager
def full(server: PrivateServer) -> Any:
    server.call("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        server.call("CONFIG", "SET", "maxmemory", 0)


async def test_a_full_server_takes_no_graph(own_server: PrivateServer, graphs: Graphs, worker: Worker) -> None:
    with full(own_server):
        for some in (parts("n1", [node(1)]), parts("n900", chain(900))):
            with pytest.raises(QueueFull):
                await accept(graphs, some)
        with pytest.raises(QueueFull):
            await graphs.reserve("n1", 3)

    assert keys_of_graphs(own_server) == set()


async def test_on_a_full_server_graphs_go_on(own_server: PrivateServer, graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n3", chain(3))
    await send_graph(graphs, "m2", [node(1, id="m1"), node(2, 1, id="m2")])
    first, other = (await worker.claim()).deliveries
    with full(own_server):
        assert await end(worker, "n3", first, 1) is Settled.DONE
        assert ids(await worker.claim()) == ["n2"]
        assert (await graphs.steer("m2")).answer == "done"
        assert (await graphs.advance()).cancelling == ["m2"]
        assert await graphs.conclude([Conclusion("m2", GONE, Status.CANCELLED, 60.0)]) == [True]
        await advance_all(graphs)
        assert await end(worker, "m2", other, 1) is Settled.DONE


async def test_scripts_that_the_server_forgot_are_sent_again(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n2", chain(2))
    own_server.call("SCRIPT", "FLUSH")
    [first] = (await worker.claim()).deliveries
    own_server.call("SCRIPT", "FLUSH")

    assert await end(worker, "n2", first, 1) is Settled.DONE


async def test_an_emptied_server_has_no_graph(own_server: PrivateServer, graphs: Graphs, worker: Worker) -> None:
    some = parts("n900", chain(900))
    await accept(graphs, some[:-1], client="client")
    own_server.call("FLUSHALL")

    assert (await graphs.push_graph("client", 1, some[-1])).name == "MISSING"
    assert await is_unknown(graphs, "n1")


# ---- keys that were deleted, or written by others


@pytest.mark.parametrize("name", ["g:n2", "nodes", "agenda"])
@pytest.mark.parametrize("how", ["DEL", "SET"])
async def test_jobs_end_whatever_becomes_of_their_graph(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, name: str, how: str
) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries
    own_server.call("DEL", key(name))
    if how == "SET":
        own_server.call("SET", key(name), "something else")

    assert await end(worker, "n2", first, 1) is Settled.DONE

    # What is behind it is ready, or unknown to who waits for it.
    assert await status_of(graphs, "n2") in (Status.PENDING, None)
    if name == "g:n2" and how == "DEL":
        assert own_server.call("EXISTS", key(name)) == 0


async def test_nodes_of_a_deleted_graph_are_forgotten(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n2", chain(2))
    own_server.call("DEL", key("g:n2"))

    assert await is_unknown(graphs, "n2")
    await graphs.recover()
    assert own_server.call("HKEYS", key("nodes")) == [b"n1"]
    assert await status_of(graphs, "n1") is Status.PENDING


async def test_a_node_whose_job_was_deleted_does_not_hold_up_others(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n2", chain(2))
    own_server.call("DEL", key("q:default:5"))

    # Asking for it finds that it is gone.
    assert await is_unknown(graphs, "n1")
    await advance_all(graphs)

    assert await status_of(graphs, "n2") is Status.PENDING


async def test_what_is_set_aside_does_not_hold_up_others(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    [first] = (await worker.claim()).deliveries

    await graphs.reject(worker.name, [(first, "its seal is broken")])
    await advance_all(graphs)

    assert ids(await worker.claim()) == ["n2"]


async def test_a_node_that_makes_room_for_others_ends_badly(graphs: Graphs, worker: Worker) -> None:
    await send_graph(graphs, "n2", chain(2))
    room_for_one = await worker.claim()
    [first] = room_for_one.deliveries
    await worker.requeue(first, behind=5)
    [waits] = [d for d in (await worker.claim()).deliveries]
    await worker.requeue(waits, behind=5)
    found = await graphs.push("client", 1, [node(9, id="new").push], _room(), [])
    assert found is not None
    drop = [ending("", found.oldest[0], 0, Status.CANCELLED)]

    await graphs.push("client", 2, [node(9, id="new").push], _room(), drop)
    await advance_all(graphs)

    assert sorted(ids(await worker.claim())) == ["n2", "new"]


def _room() -> Any:
    from aiotask.broker import Room

    return Room({"default": 1}, oldest=True)


# ---- dead letters, releases


async def test_the_dead_letter_of_a_node_stays_with_its_graph(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    job = Job(RELEASE, "n1", "shop.tasks:render", "default", b"", 5, more=More(flow=Flow("n1", 1)), sent_at=0.0)
    plain = node(1)
    sealed = b"\0" * OVERHEAD + encode_job(job)
    await send_graph(
        graphs, "n1", [msgspec.structs.replace(plain, push=msgspec.structs.replace(plain.push, sealed=sealed))]
    )
    [first] = (await worker.claim()).deliveries
    await end(worker, "n1", first, 1, Status.FAILED, dead=True)

    assert await graphs.replay(["n1", "other"]) == [Replayed.GRAPH, Replayed.MISSING]
    assert await graphs.discard(["n1", "other"]) == [Replayed.GRAPH, Replayed.MISSING]

    own_server.call("DEL", key("g:n1"))
    assert await graphs.replay(["n1"]) == [Replayed.DONE]


async def test_no_graph_is_sent_beside_a_worker_of_an_older_release(own_server: PrivateServer, graphs: Graphs) -> None:
    facts = msgspec.msgpack.encode({"host": "db-7"})
    await graphs.enlist("abc.1", "abc", facts)

    with pytest.raises(BrokerError, match=r'host "db-7".*older release'):
        await accept(graphs, parts("n1", [node(1)]))

    await send(graphs, "plain")
    await graphs.declare_dead("abc")
    await accept(graphs, parts("n1", [node(1)]))
