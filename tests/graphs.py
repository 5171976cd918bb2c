"""Short words for graphs at the seam: what a graph looks like, how it is sent, and how it runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from aiotask.broker import BATCH_JOBS, Delivery, Finish, Settled
from aiotask.brokers.graphs import BATCH_SPECIAL, Conclusion, Condition, Graphs, Growth, Node, Part, Taken, parts_of
from aiotask.job import Status

from .seam import GONE, Worker, a_push, finish, sealed_outcome

__all__ = [
    "Run",
    "accept",
    "advance_all",
    "cancel_all",
    "chain",
    "end",
    "ending",
    "grow",
    "node",
    "parts",
    "send_graph",
]

_clients = itertools.count(1)


def node(number: int, *upstream: int, id: str = "", queue: str = "default", **options: Any) -> Node:
    """A node whose job is ``n`` and its number, if it has no other id."""
    push = {
        name: options.pop(name) for name in ("priority", "delay", "eta", "reply", "body", "special") if name in options
    }
    condition = Condition(options.pop("condition", ""))
    return Node(
        number, "shop.tasks:render", a_push(id or f"n{number}", queue, **push), upstream, condition=condition, **options
    )


def chain(length: int) -> list[Node]:
    """Nodes each of which takes the value of the one before it."""
    return [node(n, *([n - 1] if n > 1 else [])) for n in range(1, length + 1)]


def parts(graph: str, nodes: Sequence[Node], **options: Any) -> list[Part]:
    options.setdefault("token", f"token-{next(_clients)}")
    options.setdefault("result_ttl", 3600.0)
    return list(parts_of(graph, nodes, **options))


async def accept(broker: Graphs, some: Sequence[Part], *, client: str = "", sequence: int = 1, **options: Any) -> Taken:
    """Send these parts, in their order; what the last one answered."""
    client = client or f"sender-{next(_clients)}"
    taken = Taken.DONE
    for part in some:
        taken = await broker.push_graph(client, sequence, part, **options)
    return taken


async def send_graph(broker: Graphs, graph: str, nodes: Sequence[Node], **options: Any) -> None:
    """Send a graph, and work off what it leaves on the agenda."""
    assert await accept(broker, parts(graph, nodes, **options)) is Taken.DONE
    await advance_all(broker)


async def advance_all(broker: Graphs) -> None:
    while (await broker.advance()).left:
        pass


async def cancel_all(broker: Graphs, graph: str) -> list[str]:
    """Conclude what has not started of a cancelled graph, as who cancels it does; the ids of those jobs."""
    concluded: list[str] = []
    after = 0
    while page := await broker.unfinished(graph, after, BATCH_JOBS):
        after = page[-1][0]
        batch = [Conclusion(id, GONE, Status.CANCELLED, 3600.0) for _, id in page]
        ended = await broker.conclude(batch)
        concluded += [id for (_, id), is_over in zip(page, ended, strict=True) if is_over]
    await broker.steer(graph, ended=True)
    await advance_all(broker)
    return concluded


async def end(
    worker: Worker, graph: str, delivery: Delivery, number: int, status: Status = Status.SUCCESS, **options: Any
) -> Settled:
    """End a node with a status."""
    item = ending(graph, delivery, number, status, **options)
    [settled], _, has_work = await worker.broker.finish_special(worker.name, [item])  # type: ignore[attr-defined]
    if has_work:
        await advance_all(worker.broker)  # type: ignore[arg-type]
    return Settled(settled)


def ending(graph: str, delivery: Delivery, number: int, status: Status = Status.SUCCESS, **options: Any) -> Finish:
    """The end of a node."""
    outcome = sealed_outcome(delivery.id, status)
    return finish(delivery, status=status, outcome=outcome, graph=graph, node=number, **options)


async def grow(
    broker: Graphs, graph: str, delivery: Delivery, old: int, nodes: Sequence[Node], first: int, **options: Any
) -> Taken:
    """A run of ``delivery`` has returned Refs of ``nodes``, the last of which is the job itself."""
    growth = Growth(delivery, old, nodes[-1].number)
    return await accept(broker, parts(graph, nodes, first=first, growth=growth, **options), sequence=0)


class Run:
    """Runs a graph to its end with one worker, and says what happened.

    Args:
        fails: ids of jobs that end as FAILED.
    """

    def __init__(self, worker: Worker, graph: str, numbers: dict[str, int], fails: Sequence[str] = ()) -> None:
        self.worker = worker
        self.graph = graph
        self.numbers = numbers
        self.fails = set(fails)
        #: Ids in the order in which the jobs were claimed, by claim.
        self.waves: list[list[str]] = []

    @property
    def order(self) -> list[str]:
        return [id for wave in self.waves for id in wave]

    async def to_its_end(self) -> Run:
        broker: Graphs = self.worker.broker  # type: ignore[assignment]
        while claimed := (await self.worker.claim(BATCH_SPECIAL)).deliveries:
            self.waves.append(sorted((d.id for d in claimed), key=self.numbers.__getitem__))
            batch = [self._end_of(delivery) for delivery in claimed]
            settled, _, has_work = await broker.finish_special(self.worker.name, batch)
            assert settled == [Settled.DONE] * len(batch)
            if has_work:
                await advance_all(broker)
        return self

    def _end_of(self, delivery: Delivery) -> Finish:
        status = Status.FAILED if delivery.id in self.fails else Status.SUCCESS
        return ending(self.graph, delivery, self.numbers[delivery.id], status)
