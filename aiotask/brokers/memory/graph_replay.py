"""The replay of a graph at rest: what did not end well runs again, and what is downstream of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...job import Status
from ..graphs import Steered
from .graph_record import GraphRecord, NodeRecord, State
from .graphs import GraphStore

__all__ = ["replay_graph"]


def replay_graph(store: GraphStore, graph: GraphRecord) -> Steered:
    if graph.state is not State.ENDED:
        return Steered("running")
    bad = [node for node in graph.nodes.values() if node.is_bad or _is_dropped(node)]
    missing = _missing(store, graph, bad)
    if missing:
        return Steered("gone", missing=missing)
    count = sum(node.is_bad and not node.is_virtual for node in bad)
    # Nothing starts before everything waits: what runs again hangs on a virtual node of its own.
    graph.highest += 1
    first = graph.node(graph.highest)
    graph.accepted[first.number] = ""
    waits = Counter(number for node in bad for number in node.downstream)
    for node in bad:
        hangs = not waits[node.number] or not (node.is_virtual or node.condition)
        if hangs:
            first.downstream.append(node.number)
        node.open = waits[node.number] + hangs
        _renew(store, graph, node)
    graph.left = len(bad)
    store.take_key(graph.id)
    store.go_on(graph)
    store.end_nodes(graph, [(first, Status.SUCCESS)])
    return Steered("done", count)


def _is_dropped(node: NodeRecord) -> bool:
    """Whether a follow-up was dropped since what it follows ended badly: it may be wanted after all."""
    return node.is_unwanted and node.is_ended and bool(node.sealed)


def _missing(store: GraphStore, graph: GraphRecord, bad: Iterable[NodeRecord]) -> str:
    """A job whose value is needed by one of these nodes, and gone; empty: there is none."""
    jobs = [node for node in bad if node.is_bad and not node.is_virtual]
    upstream = (graph.nodes[number] for node in jobs for number in node.upstream)
    gone = (node.id for node in upstream if node.id and not node.is_bad and node.id not in store.results)
    return next(gone, "")


def _renew(store: GraphStore, graph: GraphRecord, node: NodeRecord) -> None:
    """Forget how a node ended, and its counters."""
    node.is_bad = node.is_ended = node.is_unwanted = False
    node.inherited = Status.SUCCESS
    if not node.is_virtual:
        node.series = int(store.clock.time() * 1000)
        store.nodes[node.id] = graph.id, node.number
        store.results.pop(node.id, None)
        store.dead.pop(node.id, None)
