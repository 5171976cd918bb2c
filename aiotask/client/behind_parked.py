"""Jobs that wait for a parked job which no live worker can run: they would wait for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from ..broker import Broker, JobState
from ..brokers import inspect
from ..inspector import GraphInspector, GraphNodeInfo
from ..job import Status, is_paused_need
from .near_miss import needs_of_workers

__all__ = ["parked_upstream"]

#: Nodes that one request reads, and ids whose status one request asks for.
_PAGE, _STATUSES = 1_000, 250


async def parked_upstream(broker: Broker, ids: Iterable[str]) -> dict[str, tuple[str, JobState]]:
    """For each of these waiting jobs that needs a parked one which no live worker can run: the id of that one, and its
    state. Reads the graphs only if any job is parked."""
    view = cast("GraphInspector", inspect(broker))
    if not (await view.stats()).parked:
        return {}
    met, found, nodes = await needs_of_workers(broker), dict[str, tuple[str, JobState]](), dict[str, GraphNodeInfo]()
    for id in ids:
        if id not in nodes:
            nodes = await _nodes_around(view, id)
        above = _needed_by(id, nodes)
        for start in range(0, len(above), _STATUSES):
            some = above[start : start + _STATUSES]
            for other, state in zip(some, await broker.status(some), strict=True):
                if _is_lasting(state, met):
                    found[id] = other, state
    return found


async def _nodes_around(view: GraphInspector, id: str) -> dict[str, GraphNodeInfo]:
    """The nodes of the graph of an unfinished job, by the ids of their jobs."""
    nodes, after = dict[str, GraphNodeInfo](), 0
    page = await view.graph(id, 0, _PAGE)
    while page is not None:
        nodes |= {node.id: node for node in page.nodes}
        after += _PAGE
        page = await view.graph(page.id, after, _PAGE) if page.more else None
    return nodes


def _is_lasting(state: JobState, met: Collection[str]) -> bool:
    """Whether a job is parked for what no worker has; one whose task is paused goes on when that is resumed."""
    need = state.need
    return state.status is Status.PARKED and bool(need) and need not in met and not is_paused_need(need)


def _needed_by(id: str, nodes: Mapping[str, GraphNodeInfo]) -> list[str]:
    """Ids of jobs that are ready or have ended, and that a waiting job needs, directly or not."""
    numbers = {node.number: node.id for node in nodes.values()}
    returned = _by_parent(nodes.values())
    found, seen, todo = list[str](), {id}, [id]
    while todo:
        node = nodes.get(todo.pop())
        if node is None:
            continue
        if not node.waiting and node.id not in returned:
            found.append(node.id)
            continue
        # A job that has returned Refs waits for the jobs of its run.
        above = [numbers[number] for number in node.upstream if number in numbers] + returned.get(node.id, [])
        todo += [other for other in above if other not in seen]
        seen.update(above)
    return found


def _by_parent(nodes: Collection[GraphNodeInfo]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node.parent:
            found.setdefault(node.parent, []).append(node.id)
    return found
