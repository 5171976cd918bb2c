"""How long the scripts of graphs keep the server from other clients, beside a plain finish of 250 jobs.

Each shape is sent and run through the seam, and the server says how long each call took. The figure is the 95th
percentile of the calls of a shape over that of the plain finishes of the same repetition; the promise is 2.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from aiotask.broker import BATCH_JOBS, Delivery, Finish, Push
from aiotask.brokers import connect, graphs_of
from aiotask.brokers.graphs import BATCH_SPECIAL, Graphs, Node, parts_of
from aiotask.job import RELEASE, WIRE_VERSION, Job, Status, encode_job
from aiotask.wire.seal import Sealer

from .figure import Figure, percentile
from .plan import Plan
from .server import Server
from .tasks import NAME

__all__ = ["SHAPES", "measure"]

T = TypeVar("T")

_WORKER = "bench.1"
#: Plain finishes in one repetition.
_PLAIN = 40
_PROMISE = 2.0
_seal = Sealer(["bench"], "job").seal


def _node(number: int, *upstream: int) -> Node:
    id = f"n{number}"
    sealed = _seal(encode_job(Job(WIRE_VERSION, id, "bench:noop", "default", b"", 5)))
    return Node(number, "bench:noop", Push(id, "default", 5, sealed), upstream)


def _chains(count: int = 64, length: int = 30) -> list[Node]:
    """Chains beside one another, so that each finish makes as many nodes ready as it ends."""
    return [
        _node(n * length + at, *([n * length + at - 1] if at > 1 else []))
        for n, at in itertools.product(range(count), range(1, length + 1))
    ]


def _chord(members: int = 5000) -> list[Node]:
    return [*(_node(n) for n in range(1, members + 1)), _node(members + 1, *range(1, members + 1))]


def _layers(width: int = 300) -> list[Node]:
    first = range(1, width + 1)
    return [*map(_node, first), *(_node(width + n, *first) for n in first)]


SHAPES: dict[str, Callable[[], list[Node]]] = {"chains": _chains, "chord": _chord, "300x300": _layers}


class _Clock:
    """Milliseconds that the server spent on each script call of a repetition."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.calls: list[float] = []

    def _spent(self) -> float:
        stats = self._server.client.info("commandstats")
        return sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats) / 1000

    async def time(self, call: Awaitable[T]) -> T:
        before = self._spent()
        answer = await call
        self.calls.append(self._spent() - before)
        return answer

    def p95(self) -> float:
        calls, self.calls = self.calls, []
        return percentile(calls, 0.95)


def _ends(claimed: Sequence[Delivery], graph: str = "") -> list[Finish]:
    return [
        Finish(each, b"outcome", Status.SUCCESS, 60.0, graph=graph, node=int(each.id[1:]) if graph else 0)
        for each in claimed
    ]


async def _plain(broker: Graphs, clock: _Clock) -> float:
    for sequence in range(1, _PLAIN + 1):
        batch = [msgspec.structs.replace(_node(n).push, id=f"p{sequence}.{n}") for n in range(BATCH_JOBS)]
        await broker.push("plain", sequence, batch)
        claim = await broker.claim(_WORKER, ["default"], [], BATCH_JOBS)
        await clock.time(broker.finish(_WORKER, _ends(claim.deliveries)))
    return clock.p95()


async def _shape(broker: Graphs, clock: _Clock, name: str, nodes: Sequence[Node]) -> float:
    for part in parts_of(name, nodes, token="bench", result_ttl=60.0):
        await clock.time(broker.push_graph(name, 1, part))
    while True:
        while (await clock.time(broker.advance())).left:
            pass
        claim = await broker.claim(_WORKER, ["default"], [], BATCH_SPECIAL)
        if not claim.deliveries:
            return clock.p95()
        await clock.time(broker.finish_special(_WORKER, _ends(claim.deliveries, name)))


async def measure(plan: Plan) -> list[Figure]:
    ratios: dict[str, list[float]] = {name: [] for name in SHAPES}
    for _ in plan.rounds():
        plan.server.client.delete(*(plan.server.client.keys(plan.server.key("*")) or ["-"]))
        broker = graphs_of(connect(plan.server.url, NAME))
        facts = msgspec.msgpack.encode({"host": "bench", "release": RELEASE})
        await broker.enlist(_WORKER, "bench", facts)
        clock = _Clock(plan.server)
        try:
            plain = await _plain(broker, clock)
            for name, make in SHAPES.items():
                ratios[name].append(await _shape(broker, clock, name, make()) / plain)
        finally:
            await broker.close()
    return [
        Figure("graphs_server", f"{name}: p95 of a call over that of a plain finish", "x", found, _PROMISE, False)
        for name, found in ratios.items()
    ]
