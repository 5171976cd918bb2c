"""Graphs of one or more apps: one of them with its jobs, a list of them, and replays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from ..brokers import features
from ..brokers.technology import GRAPHS
from ..client.graphs import GraphInquiry
from ..errors import ConfigError, ResultExpired, SealError
from ..inspector import GraphInfo, GraphInspector, GraphSummary
from ..job import decode_job
from ..outcome import decode_outcome
from ..results.graph import Graph
from ..wire.seal import Sealer
from .connection import Connection, Place, hidden_here, inspectors
from .jobs import in_history
from .paging import page_of_all

__all__ = ["FoundGraph", "Running", "head_of", "read_graph", "read_page", "replay", "running"]

#: Nodes that are read of a listed graph; the jobs of a graph with more are not counted one by one.
_NODES = 1_000
#: Graphs that one request lists.
_PAGE = 100


@dataclass(frozen=True)
class FoundGraph:
    """A graph with the state of each of its jobs; without ``info``, a job that is in no graph."""

    app: str
    graph: Graph
    info: GraphInfo | None

    def described(self) -> dict[str, Any]:
        info = self.info
        return {
            "app": self.app,
            "id": self.graph.id,
            "state": info.state if info else None,
            "total": len(self.graph.nodes),
            "left": info.left if info else None,
            "since": info.since if info else None,
            "nodes": [node._asdict() for node in self.graph.nodes],
        }


@dataclass(frozen=True)
class Running:
    """The graphs of an app that are not at rest: how many, and how many of their jobs have not ended."""

    graphs: int = 0
    left: int = 0


def _view(connection: Connection) -> GraphInspector | None:
    """The verbs of graphs, if the broker has them."""
    return cast("GraphInspector", connection.inspector) if GRAPHS in features(connection.broker.url) else None


def _inquiry(connection: Connection) -> GraphInquiry:
    secrets = connection.secrets
    return GraphInquiry(connection.broker, Sealer(secrets, "outcome"), Sealer(secrets, "job"))


# ---- one graph


async def head_of(connection: Connection, graph: str) -> GraphInfo | None:
    """The state of the graph with this id; None: the app has no such graph."""
    view = _view(connection)
    found = None if view is None else await view.graph(graph, 0, 1)
    return found if found is not None and found.id == graph else None


async def _find(connection: Connection, id: str) -> GraphInfo | None:
    """The state of the graph with this id, or of the job with this id; None: the app has no such graph."""
    view = _view(connection)
    if view is None:
        return None
    found = await view.graph(id, 0, 1)
    if found is None and (graph := await _graph_of_outcome(connection, id)):
        found = await view.graph(graph, 0, 1)
    return found


async def _graph_of_outcome(connection: Connection, id: str) -> str:
    """The id of the graph in which an ended job was; empty: it was in none, or its outcome is gone."""
    (state,) = await connection.broker.status([id])
    try:
        return decode_outcome(Sealer(connection.secrets, "outcome").open(state.outcome or b"")).graph
    except SealError:
        return ""


async def read_graph(id: str, place: Place, db: str | None) -> FoundGraph:
    """The graph with this id, or of the job with this id; of a job that is in no graph, the job alone.

    The history file is searched for a job whose outcome is no longer kept.

    Raises:
        ResultExpired: there is neither a graph nor a job of this id.
    """
    async with inspectors(place) as opened:
        if (found := await _in_one_of(opened, id)) is not None:
            return found
        record, where = await in_history(id, place.name, db, hidden_here())
        graph = (record or {}).get("graph") or ""
        if graph and (found := await _in_one_of(opened, graph)) is not None:
            return found
    if graph:
        where = f"The history has its jobs: aiotask results --graph {graph}"
    elif record is not None:
        where = f"The history has it, as a job in no graph: aiotask results {id}"
    raise ResultExpired(
        f'No graph and no job "{id}" is on the server: it was never sent, or is no longer kept. {where}'
    )


async def _in_one_of(opened: list[Connection], id: str) -> FoundGraph | None:
    for each in opened:
        try:
            graph = await _inquiry(each).graph(id)
        except ResultExpired:
            continue
        return FoundGraph(each.name, graph, await head_of(each, graph.id))
    return None


# ---- all graphs


async def read_page(place: Place, limit: int, offset: int) -> list[dict[str, Any]]:
    """Graphs of the named app or of all apps: first those that run, then those that are kept longest."""
    async with inspectors(place) as opened:
        page = await page_of_all(opened, _read, lambda summary: -summary.at, limit, offset)
        return [await _described(connection, summary) for connection, summary in page]


async def _read(connection: Connection, limit: int, offset: int) -> list[GraphSummary]:
    view = _view(connection)
    found: list[GraphSummary] = []
    while view is not None and len(found) < limit:
        page = await view.graphs(offset + len(found), min(_PAGE, limit - len(found)))
        found += page
        if not page:
            break
    return found


async def _described(connection: Connection, summary: GraphSummary) -> dict[str, Any]:
    """A listed graph; the failed jobs of a small one are counted."""
    view = cast("GraphInspector", connection.inspector)
    info = await view.graph(summary.id, 0, _NODES)
    whole = info is not None and not info.more
    failed = sum(node.bad for node in info.nodes) if info is not None and whole else None
    return {
        "app": connection.name,
        "id": summary.id,
        "task": await _root_task(connection, view, info),
        "state": summary.state,
        "total": summary.total,
        # The broker counts a job that waits for what it has returned twice, under both of its numbers.
        "left": min(summary.left, summary.total),
        "failed": failed,
        "since": summary.since,
    }


async def _root_task(connection: Connection, view: GraphInspector, info: GraphInfo | None) -> str:
    """The task of the job for which a graph was sent; empty: it was sent for none, or is no longer known."""
    if info is None:
        return ""
    nodes = info.nodes
    if info.more and (last := await view.graph(info.id, info.total - 1, 1)) is not None:
        nodes = [*last.nodes, *nodes]
    task = next((node.task for node in nodes if node.id == info.id), "")
    return task or (await _task_of(connection, info.id) if info.more else "")


async def _task_of(connection: Connection, id: str) -> str:
    job, secrets = await connection.inspector.job(id), connection.secrets
    try:
        if job is not None and job.outcome is not None:
            return decode_outcome(Sealer(secrets, "outcome").open(job.outcome)).task
        if job is not None and job.sealed is not None:
            return decode_job(Sealer(secrets, "job").open(job.sealed)).task
    except SealError:
        pass
    return ""


async def running(connection: Connection) -> Running:
    """How much is left of the graphs of an app."""
    view, graphs, left, at = _view(connection), 0, 0, 0
    while view is not None and (page := await view.graphs(at, _PAGE)):
        unfinished = [summary for summary in page if summary.state != "ended"]
        graphs, left = graphs + len(unfinished), left + sum(summary.left for summary in unfinished)
        if len(unfinished) < len(page):
            break
        at += len(page)
    return Running(graphs, left)


# ---- replays


async def replay(id: str, place: Place) -> dict[str, Any]:
    """Run again what did not end well in the graph with this id, or of the job with this id.

    Returns:
        ``replayed`` is the number of jobs that run again, and ``refused`` why nothing was done (else empty).

    Raises:
        ResultExpired: there is no such graph.
    """
    async with inspectors(place) as opened:
        for each in opened:
            info = await _find(each, id)
            if info is None:
                continue
            found = {"app": each.name, "id": info.id}
            try:
                return {**found, "replayed": await _inquiry(each).replay(info.id), "refused": ""}
            except ConfigError as error:
                return {**found, "replayed": 0, "refused": str(error)}
    raise ResultExpired(
        f'No graph "{id}" is on the server: it was never sent, or is no longer kept. The graphs that can be replayed: '
        "aiotask graphs list"
    )
