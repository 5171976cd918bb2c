"""The state that the memory broker keeps per graph and per node, and how it reads what parts bring."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ...job import Status
from ..graphs import CHUNK, Condition, Part

__all__ = ["GraphRecord", "NodeRecord", "State"]


class State(StrEnum):
    """The state of a graph that was accepted."""

    ACCEPTED = "accepted"
    CANCELLED = "cancelled"
    #: At rest: every node has ended.
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class NodeRecord:
    """One node. A virtual one has no job: it ends as soon as it is ready."""

    number: int
    id: str = ""
    task: str = ""
    lane: str = ""
    delay: float = 0.0
    #: Unix seconds at which the job is due; 0: ``delay`` counts from the moment at which it becomes ready.
    eta: float = 0.0
    #: The envelope; empty once the node has ended well.
    sealed: bytes = b""
    is_virtual: bool = True
    #: Nodes upstream that have not ended.
    open: int = 0
    #: Nodes downstream that have not ended well, so they may still need the value.
    dependents: int = 0
    condition: Condition = Condition.NONE
    #: As in ``broker.Special``.
    expires: float = 0.0
    #: Seconds for which its outcome is kept once nothing needs it any more; None: as long as that of the root.
    result_ttl: float | None = None
    upstream: list[int] = field(default_factory=list)
    downstream: list[int] = field(default_factory=list)
    #: Unix time in milliseconds at which a replay of the graph made it run again; 0: never.
    series: int = 0
    #: What a virtual node ends with: the first status upstream that is not SUCCESS.
    inherited: Status = Status.SUCCESS
    #: The node ended; ``is_bad``: without a value.
    is_ended: bool = False
    is_bad: bool = False
    #: A follow-up whose condition has not come true.
    is_unwanted: bool = False
    #: Id of the job that returned this node; empty: the node was sent.
    parent: str = ""
    #: The number that this one stands for, since a run of its job has returned Refs; 0: none.
    stands_for: int = 0


@dataclass(slots=True, eq=False)
class GraphRecord:
    """One graph."""

    id: str
    #: None: nothing of it was accepted yet.
    state: State | None = None
    #: The highest number given to a node so far.
    highest: int = 0
    #: Nodes that have not ended.
    left: int = 0
    #: Seconds for which the graph is kept after a good end.
    result_ttl: float = 0.0
    nodes: dict[int, NodeRecord] = field(default_factory=dict)
    #: Parts that have not been accepted, by the number of their first node and their token, and by their own number.
    staged: dict[tuple[int, str], dict[int, Part]] = field(default_factory=dict)
    #: Tokens of what was accepted, by the number of the virtual node that stands for it.
    accepted: dict[int, str] = field(default_factory=dict)
    #: When it is dropped (monotonic), unless something happens before; None: not while it has nodes that run or wait.
    drop_at: float | None = None
    #: Unix seconds when it came into its state.
    since: float = 0.0

    def write(self, parts: Sequence[Part]) -> list[NodeRecord]:
        """Add the nodes of all parts of one staging; returns those that have a job."""
        growth = parts[-1].growth
        members: list[NodeRecord] = []
        for part in parts:
            for name, value in part.fields:
                self._write_field(name, value)
            self.highest = max(self.highest, part.highest)
            members += [self.node(number) for _, number in part.members]
        for node in members:
            node.parent = growth.delivery.id if growth else ""
        if growth is not None:
            members.append(self.node(growth.new))
        for node in members:
            node.result_ttl = parts[0].result_ttl if node.result_ttl is None else node.result_ttl
        return members

    def _write_field(self, name: str, value: bytes) -> None:
        number, _, _ = name[1:].partition(".")
        node = self.node(int(number))
        match name[0]:
            case "i":
                node.task, id = _split(value)
                node.id, node.is_virtual = id.decode(), False
            case "e":
                place, rest = _split(value)
                node.lane, _, expires = place.partition("|")
                node.expires = float(expires or 0)
                node.delay, node.eta = _TIMES.unpack_from(rest)
                node.sealed = rest[_TIMES.size :]
            case "o":
                node.open = int(value)
            case "u":
                node.dependents = int(value)
            case "w":
                node.condition = Condition(value.decode())
            case "t":
                node.result_ttl = int(value) / 1000
            case "n":
                node.upstream += _numbers(value)
            case "f":
                node.downstream += _numbers(value)
            case _:
                raise AssertionError(f"a part has the field {name}")

    def node(self, number: int) -> NodeRecord:
        """The node with a number; it is made, as a virtual one, if it is new."""
        found = self.nodes.get(number)
        if found is None:
            found = self.nodes[number] = NodeRecord(number)
        return found

    def is_needed(self, node: NodeRecord) -> bool:
        """Whether a node downstream may still need the value of this one."""
        return node.dependents > 0 or (node.stands_for > 0 and self.nodes[node.stands_for].dependents > 0)


#: As ``graphs.parts_of`` writes them: delay in seconds, and the moment at which a job is due.
_TIMES = struct.Struct(">dd")


def _split(value: bytes) -> tuple[str, bytes]:
    """A text with its length before it, and what follows."""
    end = 2 + int.from_bytes(value[:2], "big")
    return value[2:end].decode(), value[end:]


def _numbers(value: bytes) -> tuple[int, ...]:
    count = len(value) // 4
    assert count <= CHUNK
    return struct.unpack(f">{count}I", value)
