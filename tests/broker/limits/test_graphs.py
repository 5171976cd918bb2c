"""Nodes of graphs under a limit: a ready node comes into its line."""

from __future__ import annotations

from typing import cast

import msgspec

from aiotask.broker import Finish, Settled
from aiotask.brokers import inspect
from aiotask.brokers.graphs import Graphs, Node, Taken
from aiotask.brokers.limits import Limits
from aiotask.job import Status

from ...graphs import advance_all, ending, grow, node, send_graph
from ...seam import Worker, ids, send, status_of
from .words import Declare, end, limited


def limited_node(number: int, *upstream: int) -> Node:
    plain = node(number, *upstream)
    return msgspec.structs.replace(plain, push=limited(plain.push.id))


async def settle(worker: Worker, *batch: Finish) -> list[Settled]:
    broker = cast(Graphs, worker.broker)
    settled, _, _ = await broker.finish_special(worker.name, batch)
    await advance_all(broker)
    return settled


async def test_ready_nodes_share_the_slots_of_their_limit(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    graphs = cast(Graphs, limits)
    await send_graph(graphs, "n3", [limited_node(1), limited_node(2), limited_node(3, 1, 2)])

    order = []
    while claim := (await worker.claim()).deliveries:
        [one] = claim
        order.append(one.id)
        assert await settle(worker, ending("n3", one, int(one.id[1:]))) == [Settled.DONE]
    assert order == ["n1", "n2", "n3"]


async def test_a_graph_that_is_replayed_passes_the_limit_again(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    graphs = cast(Graphs, limits)
    await send_graph(graphs, "n1", [limited_node(1)])
    [first] = (await worker.claim()).deliveries
    await settle(worker, ending("n1", first, 1, Status.FAILED))
    await send(limits, limited("holder"))
    [holder] = (await worker.claim()).deliveries

    assert (await graphs.steer("n1", replay=True)).answer == "done"
    await advance_all(graphs)
    assert ids(await worker.claim()) == []
    await end(worker, holder)
    assert ids(await worker.claim()) == ["n1"]


async def test_a_job_that_returns_others_leaves_its_slot_to_them(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare(max_running=1)
    await send(limits, limited("fib", custom=True))
    [parent] = (await worker.claim()).deliveries
    graphs = cast(Graphs, limits)

    first = await graphs.reserve("fib", 3)
    nodes = [limited_node(first + 1), node(first + 2, first + 1, id="fib")]
    assert await grow(graphs, "fib", parent, 0, nodes, first=first) is Taken.DONE
    assert await status_of(limits, "fib") is Status.WAITING

    [child] = (await worker.claim()).deliveries
    await settle(worker, ending("fib", child, first + 1))
    [returned] = (await worker.claim()).deliveries
    assert returned.id == "fib"
    await settle(worker, ending("fib", returned, first + 2))
    await send(limits, limited("next"))
    assert ids(await worker.claim()) == ["next"], "the slots of both are free"


async def test_a_job_in_a_line_is_shown_with_those_before_it(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    inspector = inspect(limits)

    info = await inspector.job("job-2")
    assert info is not None
    assert (info.status, info.position.rpartition("|")[0], info.ahead) == (Status.PENDING, "l:default:5:api:", 2)
    assert {info.id for info in await inspector.jobs(status=Status.PENDING)} == {"job-0", "job-1", "job-2"}
    [queue] = await inspector.queues()
    assert (queue.pending, queue.running) == (3, 0)
    assert await inspector.is_waiting(["default"])

    await worker.claim()
    assert ids(await worker.claim()) == []
    assert not await inspector.is_waiting(["default"]), "what waits for a slot cannot be admitted now"
