"""The graphs of the memory broker: the same moves as in Redis, each at once, so that its agenda is always empty."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from ...broker import Cancelled, JobState, Notice, Room, Special
from ...job import Meta, Status
from ..bounds import BAD_GRAPH_TTL
from ..graphs import STAGE_TIMEOUT, Conclusion, Condition, Growth, Part, Taken
from ..lanes import queue_of
from .clock import Clock
from .graph_record import GraphRecord, NodeRecord, State
from .record import Ending, Record
from .streams import StreamStore

__all__ = ["GraphStore"]


class GraphStore(StreamStore):
    """All state of one app, graphs among it."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self.graphs: dict[str, GraphRecord] = {}
        #: Graph and number of exactly the nodes that have not ended, by the id of their job.
        self.nodes: dict[str, tuple[str, int]] = {}
        #: Graphs whose unstarted jobs are to be ended as cancelled.
        self.cancelling: dict[str, None] = {}
        self._drops: list[tuple[float, str]] = []

    # ---- a graph begins

    def reserve(self, graph_id: str, count: int) -> int:
        old = self.graphs.get(graph_id)
        if old is not None and old.state is State.ENDED:
            self._drop_graph(old)  # of another job that had this id
        graph = self._graph(graph_id)
        graph.highest += count
        return graph.highest - count + 1

    def push_graph(self, client: str, sequence: int, part: Part, room: Room | None) -> Taken:
        is_counted = sequence > 0 and part.parts > 0
        if is_counted and self.is_repeat(client, sequence):
            return Taken.BEFORE
        graph = self.graphs.get(part.graph)
        if graph is None and part.first:
            return Taken.MISSING
        before = _before(graph, part) if graph is not None else None
        if before is Taken.KNOWN and graph is not None and not self._holds(graph):
            self._drop_graph(graph)
        elif before is not None:
            return before
        graph = self._graph(part.graph)
        staged = self._stage(graph, part)
        if not part.parts:
            return Taken.DONE
        taken = self._refuse(staged, part, room)
        if taken is Taken.DONE:
            if is_counted:
                self.count_batch(client, sequence)
            self._accept_graph(graph, [staged[number] for number in sorted(staged)], part)
        elif taken is not Taken.MISSING:
            del graph.staged[part.first, part.token]
        return taken

    def _holds(self, graph: GraphRecord) -> bool:
        """Whether a graph that is sent under the id of this one would be the same one."""
        return graph.state is not State.ENDED or self.knows(graph.id)

    def _graph(self, id: str) -> GraphRecord:
        """The graph with an id; it is made if there is none."""
        graph = self.graphs.get(id)
        if graph is None:
            graph = self.graphs[id] = GraphRecord(id)
            self._drop_in(graph, STAGE_TIMEOUT)
        return graph

    def _stage(self, graph: GraphRecord, part: Part) -> dict[int, Part]:
        """Keep a part; returns those of its staging that are there."""
        staged = graph.staged.setdefault((part.first, part.token), {})
        staged[part.number] = part
        if graph.state is None:
            self._drop_in(graph, STAGE_TIMEOUT)
        return staged

    def _refuse(self, staged: dict[int, Part], part: Part, room: Room | None) -> Taken:
        """Why the parts cannot be accepted; DONE: they can."""
        if any(number not in staged for number in range(1, part.parts + 1)):
            return Taken.MISSING
        if part.growth is not None and not self._is_held(part.growth):
            return Taken.NOT_YOURS
        if part.custom and self.knows(part.graph):
            return Taken.KNOWN
        if part.unique is not None and self.says_holder(part.graph, part.unique):
            return Taken.KNOWN
        for queue, count in part.sources.items():
            limit = room.of(queue) if room else None
            if limit is not None and self.waiting(queue) + count > limit:
                return Taken.FULL
        return Taken.DONE

    def _is_held(self, growth: Growth) -> bool:
        """Whether the worker still has the delivery whose run returned Refs; a job that was cancelled ends here."""
        delivery = growth.delivery
        lane = self.lanes.get(delivery.lane)
        record = lane.claimed.get(delivery.entry) if lane else None
        if record is None:
            return False
        cancel = self.cancels.get(record.id)
        if cancel is not None:
            self.take_back(delivery)
            self.end_if_cancelled(record)
        return cancel is None

    def _accept_graph(self, graph: GraphRecord, parts: list[Part], last: Part) -> None:
        for key in [key for key in graph.staged if key[0] == last.first]:
            del graph.staged[key]
        for part in parts:
            self.queues.update(part.queues)
        if last.growth is not None:
            self._give_up(last.growth)
        for node in graph.write(parts):
            self.nodes[node.id] = graph.id, node.number
        if last.growth is not None:
            _stand_for(graph, last.growth)
        if last.unique is not None:
            self.take_key(graph.id)
        if not graph.accepted:
            graph.result_ttl = last.result_ttl
        graph.accepted[last.first] = last.token
        graph.left += last.added
        self.go_on(graph)
        self.end_nodes(graph, [(graph.node(last.first), Status.SUCCESS)])

    def go_on(self, graph: GraphRecord) -> None:
        """The graph has nodes that run or wait, from now on; those of a cancelled one are to be ended."""
        graph.drop_at = None
        if graph.state is State.CANCELLED:
            self.cancelling[graph.id] = None
        else:
            graph.state, graph.since = State.ACCEPTED, self.clock.time()

    def _give_up(self, growth: Growth) -> None:
        """Take the job whose run has returned Refs out of its lane and out of the index: it waits from now on."""
        record = self.take_back(growth.delivery)
        assert record is not None
        if self.index.get(record.id) is record:
            del self.index[record.id]
        self.begun.pop(record.id, None)
        self.expiring.pop(record.id, None)
        self.undo_run(record.id)
        self.let_go(record)

    # ---- a node ends

    def end(self, record: Record, ending: Ending) -> None:
        """End a job, as every job ends; what waits for it goes on."""
        place = self._leave(record)
        super().end(record, ending)
        if place is None:
            return
        graph, node = place
        if graph.is_needed(node):
            self.results[record.id] = ending.outcome, ending.status, math.inf
        self.end_nodes(graph, [(node, ending.status)])

    def set_aside(self, record: Record, reason: str) -> None:
        place = self._leave(record)
        super().set_aside(record, reason)
        if place is not None:
            graph, node = place
            self.end_nodes(graph, [(node, Status.FAILED)])

    def _leave(self, record: Record) -> tuple[GraphRecord, NodeRecord] | None:
        """The graph and the node of a job that ends; None: it is in no graph, or its id means another job by now."""
        if record.id not in self.nodes or self.index.get(record.id) is not record:
            return None
        graph_id, number = self.nodes.pop(record.id)
        graph = self.graphs[graph_id]
        return graph, graph.nodes[number]

    def end_nodes(self, graph: GraphRecord, ends: Iterable[tuple[NodeRecord, Status]]) -> None:
        """Let what is downstream of these nodes go on, without recursion: a chain may have 100,000 virtual nodes."""
        todo = deque(ends)
        while todo:
            node, status = todo.popleft()
            self._note_end(graph, node, status)
            for number in node.downstream:
                fed = graph.nodes[number]
                if fed.is_ended:
                    continue
                fed.open -= 1
                if fed.inherited is Status.SUCCESS:
                    fed.inherited = status
                if fed.condition and not _is_wanted(fed.condition, status):
                    fed.is_unwanted = True
                if fed.open == 0:
                    self._make_ready(graph, fed, todo)
        if graph.left == 0:
            self._rest(graph)

    def _note_end(self, graph: GraphRecord, node: NodeRecord, status: Status) -> None:
        if node.number not in graph.accepted:  # else it stands for the accept, and was not counted
            graph.left -= 1
        node.is_ended, node.is_bad = True, status is not Status.SUCCESS
        if not node.is_bad:
            node.sealed = b""
            self._free(graph, node)

    def _free(self, graph: GraphRecord, node: NodeRecord) -> None:
        """This node needs no value any more: the time of those that nothing needs begins."""
        for number in node.upstream:
            needed = graph.nodes[number]
            needed.dependents -= 1
            if needed.dependents == 0:
                self._keep_for(needed.id, needed.result_ttl)

    def _keep_for(self, id: str, ttl: float | None) -> None:
        """Let the TTL of an outcome begin, in seconds."""
        if id in self.results:
            outcome, status, _ = self.results.pop(id)
            if ttl:
                self.keep(id, outcome, status, ttl)

    def _make_ready(self, graph: GraphRecord, node: NodeRecord, todo: deque[tuple[NodeRecord, Status]]) -> None:
        """Everything upstream of a node has ended."""
        if node.is_unwanted:
            self._drop_node(graph, node)
        elif node.is_virtual:
            todo.append((node, node.inherited))
        elif graph.state is not State.CANCELLED:
            record = _record_of(node)
            at = self.clock.time()
            due_at = node.eta or at + node.delay
            if due_at > at:
                self.schedule(record, record.lane, due_at, is_retry=False)
            else:
                self.place(record, record.lane)
            if node.expires and not node.series:
                self.let_expire(node.id, Special(expires=node.expires))

    def _drop_node(self, graph: GraphRecord, node: NodeRecord) -> None:
        """Drop an unwanted follow-up without a trace; who waits for it looks again, and finds nothing."""
        del self.nodes[node.id]
        self.runs["dropped"] += 1
        graph.left -= 1
        self.notify({_record_of(node).reply, *self.watchers.pop(node.id, ())}, Notice(node.id))
        node.is_ended = True
        if node.inherited is Status.SUCCESS:
            node.sealed = b""
            self._free(graph, node)

    def _rest(self, graph: GraphRecord) -> None:
        """Every node of a graph has ended."""
        graph.state, graph.since = State.ENDED, self.clock.time()
        self.cancelling.pop(graph.id, None)
        is_bad = any(node.is_bad for node in graph.nodes.values())
        self._drop_in(graph, max(graph.result_ttl, BAD_GRAPH_TTL) if is_bad else graph.result_ttl)

    # ---- what ends before it has started

    def cancel(self, id: str, ending: Ending) -> Cancelled:
        node = self.waiting_node(id)
        if node is None:
            return super().cancel(id, ending)
        self._end_waiting(node, ending)
        return Cancelled.DONE

    def conclude(self, item: Conclusion) -> bool:
        ending = Ending(item.outcome, item.status, item.result_ttl)
        record = self.index.get(item.id)
        if record is not None:
            return not record.owner and super().cancel(item.id, ending) is Cancelled.DONE
        node = self.waiting_node(item.id)
        if node is not None:
            self._end_waiting(node, ending)
        return node is not None

    def waiting_node(self, id: str) -> NodeRecord | None:
        """The node of a job that is not ready; None: there is none."""
        if id in self.index or id not in self.nodes:
            return None
        graph, number = self.nodes[id]
        return self.graphs[graph].nodes[number]

    def _end_waiting(self, node: NodeRecord, ending: Ending) -> None:
        record = self.index[node.id] = _record_of(node)
        self.end(record, replace(ending, reply=record.reply))

    def unfinished(self, graph_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        graph = self.graphs.get(graph_id)
        nodes = sorted(graph.nodes.items()) if graph else []
        ids = [(number, node.id) for number, node in nodes if number > after and not node.is_virtual]
        return [(number, id) for number, id in ids if self.nodes.get(id) == (graph_id, number)][:limit]

    # ---- a whole graph

    def cancel_graph(self, graph: GraphRecord) -> None:
        """Let nothing of a graph become ready any more; ``advance`` names it until its jobs are concluded."""
        if graph.state is State.ACCEPTED:
            graph.state, graph.since = State.CANCELLED, self.clock.time()
            self.cancelling[graph.id] = None

    # ---- time

    def _drop_in(self, graph: GraphRecord, seconds: float) -> None:
        graph.drop_at = self.clock.monotonic() + seconds
        heapq.heappush(self._drops, (graph.drop_at, graph.id))

    def expire(self) -> None:
        super().expire()
        now = self.clock.monotonic()
        while self._drops and self._drops[0][0] <= now:
            at, id = heapq.heappop(self._drops)
            graph = self.graphs.get(id)
            if graph is not None and graph.drop_at == at:
                self._drop_graph(graph)

    def _drop_graph(self, graph: GraphRecord) -> None:
        del self.graphs[graph.id]
        for node in graph.nodes.values():
            if node.id in self.results and self.results[node.id][2] == math.inf:
                del self.results[node.id]

    # ---- what is known of a job

    def place_of(self, id: str) -> str:
        place = super().place_of(id)
        return place if place == "running" or id not in self.nodes else "node"

    def knows(self, id: str) -> bool:
        return super().knows(id) or id in self.nodes

    def status(self, id: str, address: str) -> JobState:
        if self.waiting_node(id) is None:
            return super().status(id, address)
        if address:
            self.watchers.setdefault(id, set()).add(address)
        return JobState(Status.WAITING)


def _before(graph: GraphRecord, part: Part) -> Taken | None:
    """What a part hears whose graph was accepted before; None: it was not."""
    if part.first in graph.accepted:
        is_known = part.custom and graph.accepted[part.first] != part.token
    elif part.first == 0 and graph.state is not None:
        is_known = part.custom
    else:
        return None
    return Taken.KNOWN if is_known else Taken.BEFORE


def _stand_for(graph: GraphRecord, growth: Growth) -> None:
    """The old number is virtual from now on: it ends with the new one, and keeps those that need the value."""
    if growth.old:
        old = graph.node(growth.old)
        old.open, old.is_virtual, old.sealed, old.inherited = 1, True, b"", Status.SUCCESS
        graph.node(growth.new).stands_for = growth.old


def _record_of(node: NodeRecord) -> Record:
    return Record(node.id, queue_of(node.lane), node.sealed, node.lane, Meta(series=node.series))


def _is_wanted(condition: Condition, status: Status) -> bool:
    """Whether a follow-up runs after a node that ended in this way."""
    if condition is Condition.SUCCESS:
        return status is Status.SUCCESS
    return status in (Status.FAILED, Status.EXPIRED)
