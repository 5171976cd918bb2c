"""Random graphs, and what a model of a few lines says becomes of their nodes."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiotask.broker import Push
from aiotask.brokers.graphs import Condition, Node
from aiotask.job import RELEASE, Job, More, Status, encode_job
from aiotask.values.flow import Flow, Kind, pack_ids
from aiotask.wire.seal import Sealer

__all__ = ["DROPPED", "TASK", "WITHHELD", "End", "Planned", "ends_of", "message_of", "nodes_of", "plan", "value_of"]

TASK = "shop.tasks:render"

_jobs = Sealer(["test"], "job")


@dataclass(frozen=True)
class End:
    """How a node ended: its status, and the value or the name of the error."""

    status: str
    value: str = ""


#: The end of an unwanted follow-up: there is nothing to be seen of it.
DROPPED = End("")
#: The same, where the job that it follows ended badly: the outcome of that is kept.
WITHHELD = End("", "withheld")


@dataclass
class Planned:
    """A node as it was drawn: what it takes, and what its run will do."""

    id: str
    upstream: list[Planned] = field(default_factory=list)
    #: Whether it takes values and errors, and so runs in any case.
    settled: bool = False
    condition: Condition = Condition.NONE
    fails: bool = False
    retries: int = 0
    delay: float = 0.0
    result_ttl: float = 3600.0
    #: Nodes that its run returns, and those of them whose values make up its own.
    grows: list[Planned] = field(default_factory=list)
    takes: list[Planned] = field(default_factory=list)


def plan(pick: random.Random, size: int, depth: int = 2) -> list[Planned]:
    """A random graph, upstream before downstream; some nodes turn out to be graphs themselves."""
    planned: list[Planned] = []
    for _ in range(size):
        able = [node for node in planned if not node.condition]
        node = Planned(
            _new_id(),
            pick.sample(able, min(len(able), pick.choice([0, 1, 1, 2, 3, 3 if pick.random() < 0.9 else 100]))),
            settled=pick.random() < 0.15,
            fails=pick.random() < 0.06,
            retries=pick.choice([0, 0, 0, 0, 1, 2]),
            delay=pick.choice([0.0, 0.0, 0.0, 0.001]),
            result_ttl=pick.choice([3600.0, 0.0, 60.0]),
        )
        if able and pick.random() < 0.15:
            node.condition = pick.choice([Condition.SUCCESS, Condition.ERROR])
            node.upstream, node.settled = [pick.choice(able)], node.condition is Condition.ERROR
        elif depth and pick.random() < 0.08:
            node.grows = plan(pick, pick.randrange(1, 8), depth - 1)
            able = [one for one in node.grows if not one.condition]
            node.takes = pick.sample(able, pick.randrange(1, len(able) + 1)) if able else []
            node.grows = node.grows if able else []
        planned.append(node)
    return planned


def _new_id(numbers: Iterable[int] = itertools.count()) -> str:
    return f"node-{next(iter(numbers)):08x}"


def ends_of(
    planned: list[Planned], cancelled: set[str], grown: set[str], before: dict[str, End] | None = None
) -> dict[str, End]:
    """The model: how every node ends, in whatever order they run.

    Args:
        cancelled: ids of jobs that a cancel has ended.
        grown: ids of jobs whose nodes were accepted, which go on whatever becomes of the job.
        before: ends that stay, those of an earlier run of the graph.
    """
    ends = dict(before or {})

    def end_of(node: Planned) -> End:
        if node.id in cancelled:
            return End(Status.CANCELLED)
        taken = [ends[one.id] for one in node.upstream]
        if node.condition is Condition.ERROR and taken[0].status == Status.SUCCESS:
            return DROPPED
        if node.condition and taken[0].status not in _WANTED[node.condition]:
            return WITHHELD
        if not node.settled and any(end.status != Status.SUCCESS for end in taken):
            return End(Status.FAILED, "behind")
        if node.fails:
            return End(Status.FAILED, "fault")
        if node.grows:
            taken = [ends[one.id] for one in node.takes]
            if any(end.status != Status.SUCCESS for end in taken):
                return End(Status.FAILED, "behind")
        return End(Status.SUCCESS, value_of(node.id, taken))

    for node in planned:
        if node.id in grown:
            ends.update(ends_of(node.grows, cancelled, grown, ends))
        if node.id not in ends:
            ends[node.id] = end_of(node)
    return ends


_WANTED = {Condition.SUCCESS: [Status.SUCCESS], Condition.ERROR: [Status.FAILED, Status.EXPIRED]}


def value_of(id: str, taken: list[End]) -> str:
    """The value of a run, which shows what it was given."""
    shown = ",".join(f"{end.status}:{end.value}" for end in taken)
    return f"{id}({zlib.crc32(shown.encode()):08x})"


def nodes_of(planned: list[Planned], graph: str, first: int) -> list[Node]:
    """The nodes as they are sent; they are numbered from ``first + 1``."""
    numbers = {node.id: number for number, node in enumerate(planned, first + 1)}
    return [
        Node(
            numbers[node.id],
            TASK,
            message_of(node.id, graph, numbers[node.id], node.upstream, settled=node.settled, delay=node.delay),
            tuple(numbers[one.id] for one in node.upstream),
            node.result_ttl,
            node.condition,
        )
        for node in planned
    ]


def message_of(
    id: str,
    graph: str,
    number: int,
    upstream: list[Planned],
    *,
    settled: bool = False,
    kind: Kind = Kind.PLAIN,
    delay: float = 0.0,
) -> Push:
    ids = pack_ids(one.id for one in upstream)
    flow = Flow(graph, number, ids, list(range(len(upstream))) if settled else [], kind)
    job = Job(RELEASE, id, TASK, "default", b"", more=More(flow=flow))
    return Push(id, "default", 5, _jobs.seal(encode_job(job)), delay)
