"""The verbs of graphs, of brokers that have the feature ``graphs``, and how a graph is written.

A graph is a table of fields under its id, the same for every broker. Numbers name its nodes: a virtual node, with which
every source begins, stands for "accepted"; it is number 0 of a new graph. What one call cannot do within its bounds
is left on the agenda, which any client, worker or keeper works off with ``advance``.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import IntEnum, StrEnum
from typing import Protocol

import msgspec

from ..broker import BATCH_BYTES, Broker, Delivery, Finish, Liveness, Push, Room, Settled
from ..job import Status
from ..values.unique import Rule
from .lanes import lane_of, line_of

__all__ = [
    "BATCH_CONCLUDED",
    "BATCH_SPECIAL",
    "CHILDREN",
    "CHUNK",
    "PART_FIELDS",
    "STAGE_TIMEOUT",
    "Advance",
    "Conclusion",
    "Condition",
    "Graphs",
    "GraphsDue",
    "Growth",
    "Node",
    "Part",
    "Steered",
    "Taken",
    "parts_of",
    "sources_of",
    "target_of",
]

#: Jobs in one call of ``finish_special``, and of ``conclude``, at most.
BATCH_SPECIAL, BATCH_CONCLUDED = 64, 250
#: Fields in one part of a graph at most, those of its members included.
PART_FIELDS = 1000
#: Numbers of nodes in one field at most.
CHUNK = 64
#: Ids that are kept of the jobs that one job has sent.
CHILDREN = 1000
#: Seconds without a further part after which a graph that was not accepted is dropped.
STAGE_TIMEOUT = 120.0


class Condition(StrEnum):
    """When a follow-up runs; otherwise it is dropped without a trace."""

    #: The node is none.
    NONE = ""
    #: The job that it follows ended as SUCCESS.
    SUCCESS = "s"
    #: That job ended as FAILED or EXPIRED.
    ERROR = "e"


class Node(msgspec.Struct, frozen=True, gc=False):
    """One job of a graph on its way to the broker."""

    number: int
    task: str
    push: Push
    #: Numbers of the nodes whose end it waits for, each once. Empty: it is a source.
    upstream: tuple[int, ...] = ()
    #: Seconds for which its outcome is kept once the last dependent has ended.
    result_ttl: float = 3600.0
    condition: Condition = Condition.NONE


class Growth(msgspec.Struct, frozen=True, gc=False):
    """A delivery whose run has returned Refs: it is given up when the new nodes are accepted.

    From then on its old number stands for the new one; the new one is a node of this growth, with the same id."""

    delivery: Delivery
    #: Number of the job in its graph so far; 0: it was in none.
    old: int
    new: int


class Part(msgspec.Struct, frozen=True, gc=False):
    """A part of a graph as it is written; parts may arrive in any order and more than once.

    The fields of node N are ``iN`` (task, id), ``eN`` (lane, of a node that expires with ``|`` and ``Special.expires``
    behind it; delay, eta, envelope), ``oN`` (how many nodes upstream have not ended), ``uN`` (how many downstream have
    not ended well), ``wN`` (condition of a follow-up), ``tN`` (its result TTL in milliseconds, where that differs from
    the graph's), and in chunks ``nN.K`` and ``fN.K``: numbers of the nodes upstream and downstream, 4 bytes each."""

    graph: str
    #: Number of the virtual node that stands for the accept of these nodes.
    first: int
    #: Distinguishes this staging of the graph from an earlier one.
    token: str
    #: The number of this part, from 1; and the number of all parts if this is the one that accepts (else 0).
    number: int
    parts: int
    #: Nodes that the whole adds, and the highest number that it gives to one.
    added: int
    highest: int
    #: Seconds that the outcome of the root is kept: the graph lives as long after a good end.
    result_ttl: float
    fields: list[tuple[str, bytes]] = []
    #: Id and number of each node whose fields are in this part; of a growth, without the job that grows: its own new
    #: number holds from the accept on.
    members: list[tuple[str, int]] = []
    queues: list[str] = []
    #: Number of sources by queue, in the part that accepts.
    sources: dict[str, int] = {}
    #: Whether the user chose the root's id: where it is known, nothing is accepted.
    custom: bool = False
    #: The delivery that the nodes stand for, if a run has returned them.
    growth: Growth | None = None
    #: The rule of the root, where it is unique as long as it has not ended: KNOWN, if another job has its key.
    unique: Rule | None = None


class Taken(IntEnum):
    """What the broker did with one part."""

    DONE = 1
    #: The graph was accepted before: this part is a repeat.
    BEFORE = 0
    #: Parts are missing, or the staging was dropped: send all of them again, as a new staging.
    MISSING = -1
    #: The delivery that the nodes stand for is no longer this worker's, or its job was cancelled and has ended now.
    NOT_YOURS = -2
    #: The broker knows the root's id: there is a job or a graph under it already. Or the root is unique, and another
    #: job has its key: ``status`` says which.
    KNOWN = -3
    #: A queue has no room for the sources.
    FULL = -4


class Conclusion(msgspec.Struct, frozen=True, gc=False):
    """The end of a job that has not started: its sealed outcome, and seconds for which that is kept."""

    id: str
    outcome: bytes
    status: Status
    result_ttl: float


class Advance(msgspec.Struct, frozen=True, gc=False):
    """What is left on the agenda: a number of items, and graphs whose unstarted jobs are to be ended as cancelled."""

    left: int = 0
    cancelling: list[str] = []


class Steered(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``steer``."""

    #: ``done``, ``unknown``, ``running`` (a replay of a graph that is not at rest) or ``gone`` (a value that a replay
    #: needs no longer exists: that of the job ``missing``).
    answer: str
    #: Jobs that a replay will run again.
    count: int = 0
    missing: str = ""


class GraphsDue(IntEnum):
    """Whether ``advance`` has something to do."""

    #: There are no graphs.
    NONE = 0
    #: At some later time, or there are graphs that only wait.
    LATER = 1
    #: There is work on the agenda.
    NOW = 2


class Graphs(Broker, Protocol):
    """A broker that keeps graphs."""

    @property
    def graphs_due(self) -> GraphsDue:
        """What the last ``promote`` of this object has found: where there are no graphs, a keeper sends nothing else
        for them."""
        ...

    async def reserve(self, graph: str, count: int) -> int:
        """The first of ``count`` numbers that a graph gives to new nodes; the graph is made if there is none.

        A new graph that is sent needs no such call: it begins with number 0."""
        ...

    async def push_graph(self, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
        """Stage a part of a graph; the last one accepts all of it or nothing.

        Only the part that accepts counts with ``sequence``, as a batch does in ``push`` (0: it is not counted, which is
        for a growth, whose fence is the delivery)."""
        ...

    async def finish_special(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness, bool]:
        """``finish`` for jobs of graphs, at most BATCH_SPECIAL; True: there is work on the agenda."""
        ...

    async def advance(self) -> Advance:
        """Work off a bounded part of the agenda."""
        ...

    async def conclude(self, batch: Sequence[Conclusion]) -> list[bool]:
        """End jobs that have not started, at most BATCH_CONCLUDED; False: the job has started, has ended, or is not
        known."""
        ...

    async def unfinished(self, graph: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Number and id of nodes that have not ended, with numbers above ``after``, in their order."""
        ...

    async def steer(self, graph: str, *, replay: bool = False, ended: bool = False) -> Steered:
        """Cancel a graph: nothing of it becomes ready from now on, and ``advance`` names it until ``ended`` says that
        its jobs are concluded. Or replay one that is at rest: what did not end well runs again, and what is downstream
        of it."""
        ...

    async def add_children(self, parent: str, ids: Sequence[str], ttl: float) -> None:
        """Keep ids of jobs that a job has sent, at most BATCH_JOBS a call: the newest CHILDREN, for ``ttl`` seconds
        from the first one on."""
        ...


def parts_of(
    graph: str,
    nodes: Sequence[Node],
    *,
    token: str,
    result_ttl: float,
    first: int = 0,
    custom: bool = False,
    growth: Growth | None = None,
    unique: Rule | None = None,
) -> Iterator[Part]:
    """The parts of a graph, of at most PART_FIELDS fields and about BATCH_BYTES bytes each; one, if it is small.

    Args:
        nodes: every node, upstream before downstream.
        token: drawn for each staging.
    """
    sheets = list(_sheets(nodes, first, result_ttl, growth))
    highest = max((node.number for node in nodes), default=first)
    for number, sheet in enumerate(sheets, 1):
        is_last = number == len(sheets)
        yield Part(
            graph,
            first,
            token,
            number,
            parts=number if is_last else 0,
            added=len(nodes),
            highest=highest,
            result_ttl=result_ttl,
            fields=sheet.fields,
            members=sheet.members,
            queues=sorted(sheet.queues),
            sources=sources_of(nodes) if is_last else {},
            custom=custom,
            growth=growth if is_last else None,
            unique=unique if is_last else None,
        )


class _Sheet:
    """What one part holds."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, bytes]] = []
        self.members: list[tuple[str, int]] = []
        self.queues: set[str] = set()
        self.size = 0

    def takes(self, fields: Sequence[tuple[str, bytes]]) -> bool:
        """Whether these fields, and one member, still fit; an empty sheet takes any."""
        size = sum(len(value) for _, value in fields)
        fits = len(self.fields) + len(self.members) + len(fields) < PART_FIELDS and self.size + size <= BATCH_BYTES
        return fits or not self.fields

    def add(self, fields: Sequence[tuple[str, bytes]]) -> None:
        self.fields += fields
        self.size += sum(len(value) for _, value in fields)


def _sheets(nodes: Sequence[Node], first: int, result_ttl: float, growth: Growth | None) -> Iterator[_Sheet]:
    downstream: dict[int, list[int]] = {}
    # The old number of a job that grows is virtual from now on: it ends with the new one.
    stands_for = {growth.new: growth.old} if growth is not None and growth.old else {}
    # The graph that it grows has a TTL of its own.
    common = None if stands_for else result_ttl
    for node in nodes:
        for number in node.upstream or (first,):
            downstream.setdefault(number, []).append(node.number)
    sheet = _Sheet()
    for field in _chunks("f", first, downstream.get(first, [])):
        if not sheet.takes([field]):
            yield sheet
            sheet = _Sheet()
        sheet.add([field])
    for node in nodes:
        # A node with very many edges fills more than one sheet.
        fed = downstream.get(node.number) or [stands_for[n] for n in (node.number,) if n in stands_for]
        edges = [*_chunks("n", node.number, node.upstream), *_chunks("f", node.number, fed)]
        rows = [_fields_of(node, len(downstream.get(node.number, [])), common), *([edge] for edge in edges)]
        for row in rows:
            if not sheet.takes(row):
                yield sheet
                sheet = _Sheet()
            sheet.add(row)
        if growth is not None and node.number == growth.new:
            sheet.queues.add(node.push.queue)
        elif node.push.id and node.push.sealed:
            sheet.members.append((node.push.id, node.number))
            sheet.queues.add(node.push.queue)
    yield sheet


def target_of(push: Push) -> str:
    """Where a job goes: its lane, or the end of the line of its limit, which is written ``LINE|``."""
    if push.special is None or not push.special.limit:
        return lane_of(push.queue, push.priority)
    return f"{line_of(push.queue, push.priority, push.special.limit)}|"


def _fields_of(node: Node, dependents: int, result_ttl: float | None) -> list[tuple[str, bytes]]:
    number, push = node.number, node.push
    fields = [(f"o{number}", b"%d" % (len(node.upstream) or 1))]
    if push.sealed:
        fields.append((f"i{number}", _written(node.task) + push.id.encode()))
        expires = 0.0 if push.special is None else push.special.expires
        target = _written((f"{expires!r}|" if expires else "") + target_of(push))
        eta = 0.0 if push.eta is None else push.eta
        fields.append((f"e{number}", target + _TIMES.pack(push.delay, eta) + push.sealed))
    if dependents:
        fields.append((f"u{number}", b"%d" % dependents))
    if node.condition:
        fields.append((f"w{number}", node.condition.encode()))
    if node.result_ttl != result_ttl:
        fields.append((f"t{number}", b"%d" % round(node.result_ttl * 1000)))
    return fields


#: Delay in seconds, and the moment at which the job is due in Unix seconds (0: none).
_TIMES = struct.Struct(">dd")


def _written(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _chunks(kind: str, number: int, others: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    for chunk, at in enumerate(range(0, len(others), CHUNK)):
        some = others[at : at + CHUNK]
        yield f"{kind}{number}.{chunk}", struct.pack(f">{len(some)}I", *some)


def sources_of(nodes: Sequence[Node]) -> dict[str, int]:
    """The number of sources by queue."""
    return dict(Counter(node.push.queue for node in nodes if not node.upstream and node.push.sealed))
