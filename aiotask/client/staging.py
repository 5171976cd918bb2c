"""Graphs on their way to the broker: in parts, none of which has an effect before the last one is accepted."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import cast

from msgspec import structs

from ..broker import BATCH_BYTES, BATCH_ROW, Broker, Overflow, Push, Room
from ..brokers.graphs import Graphs, Node, Part, Taken, parts_of, sources_of
from ..errors import BrokerError
from ..values.unique import Rule, is_unique

__all__ = ["GraphPush", "Staging"]

#: Stands for the envelope of a graph in the send buffer: a job of this size is sent in a batch of its own.
_ALONE = bytes(BATCH_BYTES + 1)
#: How often a graph is staged anew whose parts the broker has dropped.
_ATTEMPTS = 3


class Staging:
    """The parts of one graph, and which of them the broker has."""

    def __init__(
        self, graph: str, nodes: Sequence[Node], result_ttl: float, *, custom: bool, rule: Rule | None = None
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._result_ttl = result_ttl
        self._custom = custom
        self._rule = rule
        self._parts: list[Part] = []
        #: Number of parts, from the first one on, that are staged.
        self._staged = 0
        self._attempts = 0
        #: When the broker last took a part (monotonic).
        self.moved_at = 0.0

    @property
    def sources(self) -> dict[str, int]:
        """The number of jobs that wait for no other one, by queue."""
        return sources_of(self._nodes)

    @property
    def limits(self) -> set[str]:
        """The names of the limits of its jobs."""
        specials = (node.push.special for node in self._nodes)
        return {special.limit.partition(":")[0] for special in specials if special is not None and special.limit}

    def _begin(self) -> None:
        """Make the parts, for a new staging."""
        self._attempts += 1
        self._staged = 0
        self._parts = list(
            parts_of(
                self._graph,
                self._nodes,
                token=secrets.token_hex(8),
                result_ttl=self._result_ttl,
                custom=self._custom,
                unique=self._rule if is_unique(self._graph) else None,
            )
        )

    async def send(self, broker: Graphs, client: str, sequence: int, room: Room | None) -> Taken:
        """Stage what is not staged yet, and have it accepted; another call goes on after a ConnectionLost.

        Returns:
            DONE, BEFORE, KNOWN or FULL.
        """
        while True:
            if not self._parts:
                self._begin()
            taken = await self._stage(broker, client)
            if taken is Taken.DONE:
                taken = await broker.push_graph(client, sequence, self._parts[-1], room)
            if not self._again(taken):
                return taken

    async def _stage(self, broker: Graphs, client: str) -> Taken:
        """Send all parts but the last: the first one alone, since it begins the staging, the others in rows."""
        last = len(self._parts) - 1
        while self._staged < last:
            row = self._parts[self._staged : self._staged + (BATCH_ROW if self._staged else 1)]
            row = row[: last - self._staged]
            answers = await asyncio.gather(*(broker.push_graph(client, 0, part) for part in row))
            for taken in answers:
                if taken is not Taken.DONE:
                    return taken
            self._staged += len(row)
            self.moved_at = time.monotonic()
        return Taken.DONE

    def send_blocking(self, push: Callable[[int, Part, Room | None], Taken], sequence: int, room: Room | None) -> Taken:
        """``send`` for code without an event loop, in one attempt.

        Args:
            push: sends a part; it counts with the sequence if that is above 0.
        """
        while True:
            if not self._parts:
                self._begin()
            taken = Taken.DONE
            for part in self._parts[self._staged :]:
                taken = push(sequence, part, room) if part.parts else push(0, part, None)
                if taken is not Taken.DONE:
                    break
            if not self._again(taken):
                return taken

    def _again(self, taken: Taken) -> bool:
        """Whether the graph has to be staged anew.

        Raises:
            BrokerError: it was staged anew a few times already.
        """
        if taken is not Taken.MISSING:
            return False
        if self._attempts >= _ATTEMPTS:
            raise BrokerError(
                f"The broker has dropped parts of the graph {self._graph} {_ATTEMPTS} times. Send it again."
            )
        self._parts = []
        return True


class GraphPush(Push, frozen=True, gc=False):
    """A graph in the send buffer, in the place of a job: ``id`` is that of the graph."""

    staging: Staging = cast("Staging", None)
    #: Ids of the jobs that callers are likely to await.
    awaited: tuple[str, ...] = ()
    #: Number of its jobs.
    jobs: int = 0
    #: Of the root, where it is unique.
    rule: Rule | None = None

    @classmethod
    def of(
        cls,
        graph: str,
        nodes: Sequence[Node],
        result_ttl: float,
        *,
        awaited: Sequence[str],
        custom: bool,
        rule: Rule | None = None,
    ) -> GraphPush:
        queue = next(node.push.queue for node in nodes if not node.upstream)
        staging = Staging(graph, nodes, result_ttl, custom=custom, rule=rule)
        call = cls(graph, queue, 0, _ALONE, custom=custom, staging=staging, awaited=tuple(awaited), jobs=len(nodes))
        return call if rule is None else structs.replace(call, rule=rule)

    async def send(self, broker: Broker, client: str, sequence: int, room: Room | None) -> Overflow | None:
        """Have the graph accepted; return what had no room, as ``Broker.push`` does."""
        taken = await self.staging.send(cast("Graphs", broker), client, sequence, room)
        if self.rule is None or taken is not Taken.KNOWN:
            return self._overflow(taken)
        return await self._of_key(broker)

    async def _of_key(self, broker: Broker) -> Overflow | None:
        """What is said of the call, since there is a job with its key."""
        if not is_unique(self.id):
            # All calls with the key have this id.
            is_refused = self.rule is not None and self.rule.on_conflict == "error"
            return Overflow([], refused={self.id: self.id}) if is_refused else None
        [state] = await broker.status([self.id])
        if state.exists:
            return Overflow([], refused={self.id: state.exists})
        return Overflow([], known={self.id: state.same}) if state.same else None

    def send_blocking(
        self, push: Callable[[int, Part, Room | None], Taken], sequence: int, room: Room | None
    ) -> Overflow | None:
        """``send`` for code without an event loop."""
        return self._overflow(self.staging.send_blocking(push, sequence, room))

    def excess(self, room: Room) -> tuple[str, int, int] | None:
        """A queue in which more jobs of the graph start than may ever wait there, their number, and the limit."""
        for queue, count in self.staging.sources.items():
            limit = room.of(queue)
            if limit is not None and count > limit:
                return queue, count, limit
        return None

    def _overflow(self, taken: Taken) -> Overflow | None:
        return Overflow([self.id]) if taken is Taken.FULL else None
