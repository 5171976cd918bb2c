"""The read side of the memory broker."""

from __future__ import annotations

import heapq
import math
import platform
from collections.abc import Sequence
from itertools import chain, islice

import msgspec

from ...inspector import (
    DeadLetter,
    Durability,
    GraphInfo,
    GraphNodeInfo,
    GraphSummary,
    JobFilter,
    JobInfo,
    LetterFacts,
    LetterPlace,
    Page,
    Persistence,
    QueueInfo,
    Sample,
    ServerFacts,
    Stats,
    WorkerInfo,
)
from ...job import Status
from ...values.report import HostReport, LostHost
from ...values.unique import is_same_key
from ..lanes import is_line, queue_of
from ..letters import facts_of, is_behind
from ..metrics import MINUTE, Minute
from ..pages import EVERY, page_of, sample_of
from .graph_record import GraphRecord, NodeRecord
from .graphs import GraphStore
from .pages import info_of, places_in, records, stats_of, waiting_info, waiting_nodes

__all__ = ["MemoryInspector", "workers_of"]


_DURABILITY = Durability(Persistence.MEMORY, "memory")


class MemoryInspector:
    """Inspector of one app on the store of its memory broker."""

    def __init__(self, store: GraphStore) -> None:
        self._store = store

    async def facts(self) -> ServerFacts:
        return ServerFacts("memory", platform.python_version(), _DURABILITY, time=self._store.clock.time())

    async def stats(self, max_age: float = 0.0) -> Stats:
        async with self._store as store:
            return stats_of(store, workers_of(store))

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        return (await self.stats(max_age)).queues

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        async with self._store as store:
            # What waits in a line for a slot or for its rate is not waited for.
            pending = (
                record for record in records(store) if record.status is Status.PENDING and not is_line(record.lane)
            )
            return (
                any(record.queue in queues for record in pending) or store.admits_now(queues) or bool(store.cancelling)
            )

    async def workers(self) -> list[WorkerInfo]:
        async with self._store as store:
            return workers_of(store)

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50, *, newest: bool = False) -> Page:
        async with self._store as store:
            return page_of(places_in(store, wanted, newest=newest), wanted, after, limit)

    async def sample(self, queue: str) -> Sample:
        async with self._store as store:
            waiting = list(places_in(store, JobFilter(Status.PENDING, queue)))
        return sample_of(info for _, info in waiting if info.status is Status.PENDING)

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        async with self._store as store:
            unfinished = (
                info_of(record)
                for record in records(store)
                if status in (None, record.status) and queue in (None, record.queue)
            )
            waiting = (
                waiting_info(node)
                for node in waiting_nodes(store)
                if status in (None, Status.WAITING) and queue in (None, queue_of(node.lane))
            )
            return list(islice(chain(unfinished, waiting), limit))

    async def job(self, id: str) -> JobInfo | None:
        async with self._store as store:
            stored = store.results.get(id)
            if stored is not None:
                return JobInfo(id, stored[1], "stored outcome", outcome=stored[0])
            record = store.index.get(id)
            if record is not None:
                return msgspec.structs.replace(info_of(record), ahead=store.ahead_of(record))
            node = store.waiting_node(id)
            if node is not None:
                return waiting_info(node)
            same = store.known_as(id).same
        return await self.job(same) if is_same_key(id, same) else None

    async def dead(self, *, limit: int = 50) -> list[DeadLetter]:
        async with self._store as store:
            return list(islice((letter for _, letter in reversed(store.dead.values())), limit))

    async def letters(self, after: LetterPlace | None = None, limit: int = 250) -> list[LetterFacts]:
        async with self._store as store:
            behind = [letter for _, letter in store.dead.values() if is_behind(letter, after)]
        latest = heapq.nlargest(limit, behind, key=lambda letter: (letter.at, letter.id))
        return [facts_of(letter) for letter in latest]

    async def dead_letter(self, id: str) -> DeadLetter | None:
        async with self._store as store:
            return store.dead[id][1] if id in store.dead else None

    async def minutes(self, since: float, until: float | None = None, step: int = MINUTE) -> Sequence[Minute]:
        async with self._store as store:
            return store.metrics.minutes(since, until, step)

    async def reports(self) -> list[HostReport]:
        async with self._store as store:
            return store.metrics.reports()

    async def lost(self) -> list[LostHost]:
        async with self._store as store:
            return store.metrics.lost()

    async def rejected(self) -> int:
        async with self._store as store:
            return store.rejected

    async def unrecorded(self) -> int:
        async with self._store as store:
            return len(store.history)

    async def graph(self, id: str, after: int = 0, limit: int = 1000) -> GraphInfo | None:
        async with self._store as store:
            graph = store.graphs.get(id)
            if graph is None or graph.state is None:
                graph = store.graphs.get(store.nodes.get(id, ("", 0))[0])
            if graph is None or graph.state is None:
                return None
            numbers = range(after + 1, min(after + limit, graph.highest) + 1)
            nodes = [graph.nodes[number] for number in numbers if number in graph.nodes]
            shown = [_node_info(store, node) for node in nodes if _is_shown(node)]
            return GraphInfo(
                graph.id,
                graph.state,
                graph.highest,
                graph.left,
                shown,
                after + limit < graph.highest,
                graph.since,
            )

    async def graphs(self, after: int = 0, limit: int = 100) -> list[GraphSummary]:
        async with self._store as store:
            found = [(_ahead(store, graph), graph.id) for graph in store.graphs.values() if graph.state is not None]
            page = sorted(found, reverse=True)[after : after + limit]
            return [_summary(store, store.graphs[id], ahead) for ahead, id in page]


def _ahead(store: GraphStore, graph: GraphRecord) -> float:
    """Seconds until a graph is dropped; inf while it runs."""
    return math.inf if graph.drop_at is None else graph.drop_at - store.clock.monotonic()


def _summary(store: GraphStore, graph: GraphRecord, ahead: float) -> GraphSummary:
    jobs = sum(map(_is_shown, graph.nodes.values()))
    return GraphSummary(graph.id, graph.state or "", jobs, graph.left, store.clock.time() + ahead, graph.since)


def _is_shown(node: NodeRecord) -> bool:
    """Whether people see a node: it has a job, under its first number, and is no follow-up that was dropped."""
    return bool(node.id) and not node.stands_for and not (node.is_unwanted and node.is_ended)


def _node_info(store: GraphStore, node: NodeRecord) -> GraphNodeInfo:
    return GraphNodeInfo(
        node.number,
        node.id,
        node.task,
        tuple(node.upstream),
        node.parent,
        waiting=not node.is_ended and node.id not in store.index,
        bad=node.is_bad,
    )


def workers_of(store: GraphStore) -> list[WorkerInfo]:
    return [WorkerInfo(name, host, _facts(packed)) for name, (host, packed) in sorted(store.live.items())]


def _facts(packed: bytes) -> dict[str, object]:
    try:
        return msgspec.msgpack.decode(packed, type=dict[str, object])
    except msgspec.MsgspecError:
        return {}
