"""The verbs of graphs of the memory broker."""

from __future__ import annotations

from collections.abc import Sequence

from ...broker import Notice, Room
from ..graphs import Advance, Conclusion, GraphsDue, Part, Steered, Taken
from ..pauses import Pause, Standing
from .graph_replay import replay_graph
from .inspector import MemoryInspector
from .stores import store_of

__all__ = ["MemoryGraphs", "push_graph_now"]


class MemoryGraphs(MemoryInspector):
    """The verbs of ``graphs.Graphs``, except for ``finish_special``, which stands beside ``finish``, and of pauses."""

    #: How often pauses had changed when this object was told of them.
    _pauses_seen = 0

    @property
    def graphs_due(self) -> GraphsDue:
        return GraphsDue.NOW if self._store.cancelling else GraphsDue.NONE

    async def reserve(self, graph: str, count: int) -> int:
        async with self._store as store:
            return store.reserve(graph, count)

    async def push_graph(self, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
        async with self._store as store:
            return store.push_graph(client, sequence, part, room)

    async def pause(self, pause: Pause) -> int:
        async with self._store as store:
            store.paused[pause.id] = pause
            store.pauses_changed += 1
            store.notify(set(store.live), Notice(""))
            return store.pauses_changed

    async def obey(self, incarnation: str, changes: int) -> None:
        async with self._store as store:
            store.obeyed[incarnation] = changes

    async def disobeying(self, id: str, changes: int) -> list[str]:
        async with self._store as store:
            is_over = id not in store.paused
            return [] if is_over else [name for name in store.live if store.obeyed.get(name, 0) < changes]

    async def resume(self, id: str, *, begun: bool = False) -> bool:
        async with self._store as store:
            store.pauses_changed += 1
            store.notify(set(store.live), Notice(""))
            return store.resume(id)

    async def pauses(self) -> Standing:
        async with self._store as store:
            self._pauses_seen = store.pauses_changed
            return store.standing()

    async def advance(self) -> Advance:
        async with self._store as store:
            return Advance(cancelling=list(store.cancelling))

    async def conclude(self, batch: Sequence[Conclusion]) -> list[bool]:
        async with self._store as store:
            return [store.conclude(item) for item in batch]

    async def unfinished(self, graph: str, after: int, limit: int) -> list[tuple[int, str]]:
        async with self._store as store:
            return store.unfinished(graph, after, limit)

    async def steer(self, graph: str, *, replay: bool = False, ended: bool = False) -> Steered:
        async with self._store as store:
            found = store.graphs.get(graph)
            if found is None or found.state is None:
                return Steered("unknown")
            if replay:
                return replay_graph(store, found)
            if ended:
                store.cancelling.pop(graph, None)
            else:
                store.cancel_graph(found)
            return Steered("done")

    async def add_children(self, parent: str, ids: Sequence[str], ttl: float) -> None:
        async with self._store as store:
            store.add_children(parent, ids, ttl)

    async def children(self, id: str) -> list[str]:
        async with self._store as store:
            return store.children(id)


def push_graph_now(url: str, app: str, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
    """``push_graph`` for code without an event loop."""
    store = store_of(url, app)
    store.refuse_fork()
    with store.lock:
        return store.push_graph(client, sequence, part, room)
