"""Dead letters of nodes: a graph is replayed as a whole."""

from __future__ import annotations

from aiotask.broker import Broker, Replayed
from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import Node
from aiotask.job import Status

from ...graphs import end, send_graph
from ...seam import Worker, drain, outcome_of
from ..graph_verbs.model import TASK, message_of


async def test_a_dead_letter_of_a_node_runs_again_with_its_graph_alone(app_name: str) -> None:
    broker: Broker = connect("memory://", app_name)
    graphs, worker = graphs_of(broker), await Worker(broker, "host.1").enlist()
    await send_graph(graphs, "n1", [Node(1, TASK, message_of("n1", "n1", 1, []))])
    [delivery] = (await worker.claim()).deliveries
    await end(worker, "n1", delivery, 1, status=Status.FAILED, dead=True)

    assert await broker.replay(["n1"]) == [Replayed.GRAPH]
    assert await broker.discard(["n1"]) == [Replayed.GRAPH]
    assert await drain(worker) == []
    assert await outcome_of(broker, "n1") is not None

    assert (await graphs.steer("n1", replay=True)).count == 1
    assert await drain(worker) == ["n1"]
    assert await broker.replay(["n1"]) == [Replayed.MISSING]
