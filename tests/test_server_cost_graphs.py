"""What a node of a graph costs the server in commands, which know no clock."""

from __future__ import annotations

import pytest

from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import BATCH_SPECIAL, Node

from .graphs import Run, accept, advance_all, node, parts
from .seam import Worker
from .server import PrivateServer
from .test_server_cost import costly_server

__all__ = ["costly_server"]

#: Nodes of a graph.
_NODES = 2000


def commands(server: PrivateServer) -> float:
    """Commands per node since the last look, within scripts and beside them."""
    stats = server.call("INFO", "commandstats")
    server.call("CONFIG", "RESETSTAT")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    return sum(calls.values()) / _NODES


def chains() -> list[Node]:
    """As many chains as a worker claims at once, each node of which feeds one."""
    return [node(n, *([n - BATCH_SPECIAL] if n > BATCH_SPECIAL else [])) for n in range(1, _NODES + 1)]


def chord() -> list[Node]:
    return [*(node(n) for n in range(1, _NODES)), node(_NODES, *range(1, _NODES))]


@pytest.mark.parametrize(("shape", "sent", "run"), [(chains, 0.3, 7.0), (chord, 1.5, 6.1)], ids=["chains", "chord"])
async def test_what_a_node_costs_the_server_in_commands(
    costly_server: PrivateServer,
    app_name: str,
    shape: type,
    sent: float,
    run: float,
) -> None:
    broker = graphs_of(connect(costly_server.url, app_name))
    await broker.open()
    worker = await Worker(broker, "host.1").enlist()
    nodes = shape()
    numbers = {each.push.id: each.number for each in nodes}
    commands(costly_server)

    await accept(broker, parts("graph", nodes))
    assert (accepted := commands(costly_server)) <= sent, f"{accepted:.3f} commands to send a node"

    # A graph that waits costs nothing.
    await advance_all(broker)
    commands(costly_server)
    await advance_all(broker)
    assert commands(costly_server) * _NODES <= 20

    await Run(worker, "graph", numbers).to_its_end()
    assert (used := commands(costly_server)) <= run, f"{used:.3f} commands to run a node"
    await broker.close()
