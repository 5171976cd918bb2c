"""The read side of graphs on Redis, a part of ``RedisInspector``."""

from __future__ import annotations

from ...inspector import GraphInfo, GraphNodeInfo, GraphSummary, JobFilter, JobInfo
from ...job import Status
from ..lanes import queue_of
from ..pages import matches, unknown_place
from .codec import mark, name_in, text
from .connection import Wire
from .graph_pages import DROPPED, Head, edges_of, field_rows, id_in, pages, read_head, task_in
from .script import script

__all__ = ["GraphReader"]

#: States of a graph on the server; r: a replay is being prepared.
_STATES = {"c": "accepted", "r": "accepted", "x": "cancelled", "e": "ended"}
#: Numbers that are looked through for the growth to which the first node of a page belongs.
_BACK = 10_000
#: Envelopes that one command reads.
_ENVELOPES = 25
#: Nodes that one call for waiting jobs looks at, and a number behind all nodes.
_LOOK, _PAST = 500, 1 << 40
#: Bytes between the lane and the envelope of a node: its delay and its due time.
_TIMES = 16


class GraphReader:
    """The verbs of ``GraphInspector``."""

    _wire: Wire
    _prefix: str

    async def graph(self, id: str, after: int = 0, limit: int = 1000) -> GraphInfo | None:
        head = await read_head(self._wire, self._prefix, id)
        if head is None:
            # A plain job that grows has a graph which is not accepted yet; a node is a way to its graph.
            place = await self._wire.call("HGET", f"{self._prefix}nodes", id)
            id = text(place or b"").partition("|")[2]
            head = await read_head(self._wire, self._prefix, id) if id else None
        if head is None:
            return None
        nodes = await self._nodes(id, head, after, limit)
        is_more = after + limit < head.total
        return GraphInfo(id, _STATES[head.state], head.total, head.left, nodes, is_more, head.at)

    async def _nodes(self, graph: str, head: Head, after: int, limit: int) -> list[GraphNodeInfo]:
        hash = f"{self._prefix}g:{graph}"
        parent = await self._parent_before(hash, after) if head.has_grown else ""
        found: list[GraphNodeInfo] = []
        for numbers in pages(head, after, limit):
            rows = await field_rows(self._wire, hash, ["p", "i", "v", "o", "b", "n.0"], numbers)
            for number, (grown, field, old, open_, bad, chunk) in rows.items():
                if grown is not None:
                    parent = text(grown)
                # A job that grew is shown under the number that it had first.
                if field is None or old is not None or (bad == DROPPED and open_ is None):
                    continue
                id = id_in(field)
                upstream = await edges_of(self._wire, hash, number, chunk)
                own = "" if id == parent else parent
                found.append(
                    GraphNodeInfo(number, id, task_in(field), upstream, own, open_ is not None, bad is not None)
                )
        return found

    async def _parent_before(self, hash: str, after: int) -> str:
        """The id of the job that grew into the nodes around number ``after``; empty: they were sent."""
        for last in range(after, max(0, after - _BACK), -1000):
            numbers = range(last, max(0, last - 1000), -1)
            for (grown,) in (await field_rows(self._wire, hash, ["p"], numbers)).values():
                if grown is not None:
                    return text(grown)
        return ""

    async def graphs(self, after: int = 0, limit: int = 100) -> list[GraphSummary]:
        last = after + limit - 1
        flat = await self._wire.call("ZREVRANGE", f"{self._prefix}graphs", after, last, "WITHSCORES")
        found = []
        for name, at in zip(map(text, flat[::2]), map(float, flat[1::2]), strict=True):
            head = await read_head(self._wire, self._prefix, name)
            if head is not None:
                found.append(GraphSummary(name, _STATES[head.state], head.jobs, head.left, at, head.at))
        return found

    # ---- jobs that wait for others

    async def waiting_job(self, id: str) -> JobInfo | None:
        """The job with this id, if it is a node that waits for others."""
        place = text(await self._wire.call("HGET", f"{self._prefix}nodes", id) or b"")
        number, _, graph = place.partition("|")
        if not graph:
            return None
        packed, open_ = await self._wire.call("HMGET", f"{self._prefix}g:{graph}", f"e{number}", f"o{number}")
        return _waiting(id, packed) if packed and open_ is not None else None

    async def _running_behind(self, graph: bytes) -> bytes | None:
        """The id of the next graph that is not at rest."""
        ask = ("graphs", "inf", graph, 1, "", "", "", "")
        reply = await self._wire.run(script("page_sorted"), self._prefix, *ask)
        return next((id for id, _ in reply[3:]), None)

    async def waiting_page(self, wanted: JobFilter, place: str, limit: int) -> tuple[list[JobInfo], str | None]:
        """Jobs that wait for others, one graph after the other, behind a place (``NUMBER GRAPH``); and the place behind
        the last node that was looked at, None: there is none."""
        number, _, marked = place.partition(" ")
        if number and not number.isdecimal():
            raise unknown_place(place)
        graph = name_in(marked)
        if graph:
            found, last = await self._waiting_in(text(graph), wanted, int(number or 0), limit)
            if last:
                return found, f"{last} {marked}"
            if found:
                return found, f"{_PAST} {marked}"
        following = await self._running_behind(graph)
        return [], None if following is None else f"0 {mark(following)}"

    async def _waiting_in(self, graph: str, wanted: JobFilter, after: int, limit: int) -> tuple[list[JobInfo], int]:
        """Nodes that wait, and the number of the last one that was looked at (0: none is behind it)."""
        hash, found = f"{self._prefix}g:{graph}", list[JobInfo]()
        head = await read_head(self._wire, self._prefix, graph)
        for numbers in pages(head, after, _LOOK) if head is not None else ():
            rows = await field_rows(self._wire, hash, ["i", "o", "v"], numbers)
            ids = {n: id_in(field) for n, (field, open_, old) in rows.items() if field and open_ and old is None}
            # Envelopes may be large.
            for start in range(0, len(ids), _ENVELOPES):
                some = list(ids)[start : start + _ENVELOPES]
                for number, (packed,) in (await field_rows(self._wire, hash, ["e"], some)).items():
                    if packed and wanted.queue in (None, queue_of(_lane_in(packed))):
                        info = _waiting(ids[number], packed)
                        found += [info] if matches(info, wanted) else []
                    if len(found) >= limit:
                        return found, number
        last = after + _LOOK
        return found, last if head is not None and last < head.total else 0


def _lane_in(packed: bytes) -> str:
    return text(packed[2 : 2 + int.from_bytes(packed[:2])])


def _waiting(id: str, packed: bytes) -> JobInfo:
    """A waiting node, from its field ``e``."""
    lane = _lane_in(packed)
    return JobInfo(id, Status.WAITING, lane, sealed=packed[2 + len(lane.encode()) + _TIMES :])
