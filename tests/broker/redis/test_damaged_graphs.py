"""Graphs of which something was deleted or spoiled by hand: each job ends or is unknown, the graph comes to rest."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotask.broker import Push
from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import Graphs, Node, Taken
from aiotask.job import Status

from ...graphs import Run, accept, advance_all, chain, end, ending, grow, node, parts, send_graph
from ...seam import GONE, Worker, is_unknown, outcome_of, status_of
from ...server import PrivateServer


@pytest.fixture
async def graphs(own_server: PrivateServer) -> AsyncIterator[Graphs]:
    broker = graphs_of(connect(own_server.url, "graphs"))
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def worker(graphs: Graphs) -> Worker:
    return await Worker(graphs, "host.1").enlist()


def key(name: str) -> str:
    return f"aiotask1:{{graphs}}:{name}"


def lose_agenda(server: PrivateServer, how: str = "DEL") -> None:
    assert server.call("LLEN", key("agenda")) > 0
    server.call("DEL", key("agenda"))
    if how == "SET":
        server.call("SET", key("agenda"), "something else")


def look_again(server: PrivateServer, graph: str) -> None:
    """Let the time pass until a damaged graph is looked at again."""
    state, hurt = server.call("HMGET", key(f"g:{graph}"), "state", "hurt")
    if state != b"e" and hurt is not None:
        server.call("HSET", key(f"g:{graph}"), "hurt", 0)
        server.call("ZADD", key("graphs"), 0, graph)


def state_of(server: PrivateServer, graph: str) -> tuple[str, int]:
    state, left = server.call("HMGET", key(f"g:{graph}"), "state", "left")
    return state.decode(), int(left)


async def comes_to_rest(server: PrivateServer, worker: Worker, graph: str, numbers: dict[str, int]) -> Run:
    """Run whatever is ready, look at the graph again, and so on until it is at rest."""
    run = Run(worker, graph, numbers)
    for _ in range(5):
        await advance_all(worker.broker)  # type: ignore[arg-type]
        await run.to_its_end()
        if state_of(server, graph) == ("e", 0):
            break
        look_again(server, graph)
    assert state_of(server, graph) == ("e", 0)
    assert server.call("EXISTS", key("nodes"), key("agenda")) == 0
    assert int(server.call("HGET", key("counts"), "WAITING") or 0) == 0
    return run


def numbers_of(nodes: list[Node]) -> dict[str, int]:
    return {each.push.id: each.number for each in nodes if each.push.id}


# ---- the agenda is lost


@pytest.mark.parametrize("how", ["DEL", "SET"])
async def test_sources_start_although_the_agenda_was_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, how: str
) -> None:
    nodes = [*(node(n) for n in range(1, 2001)), node(2001, *range(1, 2001))]
    await accept(graphs, parts("n2001", nodes))
    lose_agenda(own_server, how)

    ran = await comes_to_rest(own_server, worker, "n2001", numbers_of(nodes))

    assert sorted(ran.order) == sorted(numbers_of(nodes)) and ran.order[-1] == "n2001"


async def test_dependents_are_fed_although_the_agenda_was_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    nodes = [node(1), *(node(n, 1) for n in range(2, 2002)), node(2002, *range(2, 2002))]
    await send_graph(graphs, "n2002", nodes)
    [first] = (await worker.claim()).deliveries
    await graphs.finish_special(worker.name, [ending("n2002", first, 1)])
    lose_agenda(own_server)

    ran = await comes_to_rest(own_server, worker, "n2002", numbers_of(nodes))

    assert sorted(["n1", *ran.order]) == sorted(numbers_of(nodes)) and ran.order[-1] == "n2002"


async def test_a_group_comes_to_rest_although_the_agenda_was_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    members = [node(n) for n in range(1, 901)]
    group = Node(901, "", Push("", "", 5, b""), tuple(range(1, 901)))
    await accept(graphs, parts("group", [*members, group]))
    lose_agenda(own_server)

    ran = await comes_to_rest(own_server, worker, "group", numbers_of(members))

    assert len(ran.order) == 900


async def test_the_end_of_a_cancelled_job_is_told_although_the_agenda_was_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n3", chain(3))
    await graphs.cancel("n2", GONE, 3600.0)
    lose_agenda(own_server)

    ran = await comes_to_rest(own_server, worker, "n3", {"n1": 1, "n3": 3})

    assert sorted(ran.order) == ["n1", "n3"]


async def test_a_replay_goes_on_although_the_agenda_was_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    nodes = [node(1), *(node(n, 1) for n in range(2, 401)), node(401, *range(2, 401))]
    numbers = numbers_of(nodes)
    await send_graph(graphs, "n401", nodes)
    await Run(worker, "n401", numbers, list(numbers)).to_its_end()
    assert (await graphs.steer("n401", replay=True)).count == 401
    await graphs.advance()
    lose_agenda(own_server)

    ran = await comes_to_rest(own_server, worker, "n401", numbers)

    assert ran.order[0] == "n1" and ran.order[-1] == "n401"
    assert sorted(ran.order) == sorted(numbers)


async def test_a_job_that_grew_waits_for_what_it_returned_when_the_agenda_is_lost(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n2", chain(2))
    await send_graph(graphs, "other", [node(1, id="o1"), node(2, 1, id="o2")])
    first, other = (await worker.claim()).deliveries
    start = await graphs.reserve("n2", 3)
    await grow(graphs, "n2", first, 1, [node(4), node(5, 4, id="n1")], first=start)
    await graphs.cancel("o2", GONE, 3600.0)
    lose_agenda(own_server)
    await advance_all(graphs)

    [returned] = (await worker.claim()).deliveries
    assert returned.id == "n4"
    await end(worker, "other", other, 1)
    assert state_of(own_server, "other") == ("e", 0)
    await end(worker, "n2", returned, 4)
    ran = await comes_to_rest(own_server, worker, "n2", {"n1": 5, "n2": 2})
    assert ran.order == ["n1", "n2"]


async def test_what_the_agenda_holds_is_not_repaired(own_server: PrivateServer, graphs: Graphs) -> None:
    await send_graph(graphs, "n600", [*(node(n) for n in range(1, 601))])

    assert not own_server.call("HEXISTS", key("g:n600"), "hurt")
    assert own_server.call("HGET", key("counts"), "owed") == b"0"


# ---- fields were spoiled


@pytest.mark.parametrize(
    "field",
    ["o2", "o3", "e2", "e3", "f1.0", "f2.0", "n2.0", "n3.0", "i2", "i1", "u1", "u2", "left", "bad", "total", "t1"],
)
@pytest.mark.parametrize("fails", [[], ["n1"]], ids=["well", "badly"])
async def test_a_graph_with_a_spoiled_field_comes_to_rest(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, field: str, fails: list[str]
) -> None:
    await send_graph(graphs, "n4", [*chain(3), node(4, 2, 3)])
    own_server.call("HSET", key("g:n4"), field, "x")
    run = Run(worker, "n4", numbers_of([*chain(3), node(4, 2, 3)]), fails)

    for _ in range(8):
        await run.to_its_end()
        await graphs.recover()
        await advance_all(graphs)
        look_again(own_server, "n4")

    assert len(run.order) == len(set(run.order))
    for id in ("n1", "n2", "n3", "n4"):
        assert id in run.order or await is_unknown(graphs, id), id
    assert own_server.call("EXISTS", key("nodes"), key("agenda")) == 0


@pytest.mark.parametrize("field", ["o1", "e1", "f0.0"])
async def test_what_is_spoiled_while_a_graph_is_staged_does_not_undo_its_accept(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, field: str
) -> None:
    *staged, last = parts("n900", chain(900))
    await accept(graphs, staged)
    own_server.call("HSET", key("g:n900"), field, "x")

    assert await accept(graphs, [last]) is Taken.DONE

    numbers = numbers_of(chain(900))
    ran = await comes_to_rest(own_server, worker, "n900", numbers)
    assert set(numbers) - set(ran.order) <= {"n1"}


@pytest.mark.parametrize("field", ["f1.0", "n2.0", "o2", "e2"])
async def test_a_graph_with_a_deleted_field_comes_to_rest(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, field: str
) -> None:
    await send_graph(graphs, "n3", chain(3))
    own_server.call("HDEL", key("g:n3"), field)
    numbers = numbers_of(chain(3))
    await Run(worker, "n3", numbers).to_its_end()

    await graphs.recover()
    await advance_all(graphs)
    await graphs.recover()
    await comes_to_rest(own_server, worker, "n3", numbers)


async def test_a_graph_with_a_spoiled_envelope_is_cancelled(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n3", chain(3))
    own_server.call("HSET", key("g:n3"), "e2", "x")

    assert (await graphs.cancel("n2", GONE, 3600.0)).value == "cancelled"
    await advance_all(graphs)

    assert await outcome_of(graphs, "n2") == GONE
    assert await status_of(graphs, "n3") is Status.PENDING


async def test_a_graph_with_a_spoiled_total_is_dropped(
    own_server: PrivateServer, graphs: Graphs, worker: Worker
) -> None:
    await send_graph(graphs, "n3", chain(3))
    await Run(worker, "n3", numbers_of(chain(3))).to_its_end()
    own_server.call("HSET", key("g:n3"), "total", "x")
    own_server.call("ZADD", key("graphs"), 0, "n3")

    await graphs.advance()
    await advance_all(graphs)

    assert own_server.call("EXISTS", key("g:n3"), key("graphs"), key("agenda")) == 0


@pytest.mark.parametrize(
    "field", ["o2", "e2", "f1.0", "n3.0", "i2", "u1", "left", "bad", "b2", "w2", "v2", "chunks", "edges"]
)
async def test_a_replay_of_a_graph_with_a_spoiled_field_does_not_go_round_in_circles(
    own_server: PrivateServer, graphs: Graphs, worker: Worker, field: str
) -> None:
    nodes = [*chain(3), node(4, 2, 3)]
    await send_graph(graphs, "n4", nodes)
    await Run(worker, "n4", numbers_of(nodes), ["n1", "n2", "n3", "n4"]).to_its_end()
    own_server.call("HSET", key("g:n4"), field, "x")

    assert (await graphs.steer("n4", replay=True)).answer in ("done", "gone")
    for _ in range(5):
        await advance_all(graphs)
        await Run(worker, "n4", numbers_of(nodes)).to_its_end()
        look_again(own_server, "n4")

    for id in numbers_of(nodes):
        assert await status_of(graphs, id) in (None, Status.WAITING) or await outcome_of(graphs, id), id
