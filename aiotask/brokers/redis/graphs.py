"""The verbs of graphs on Redis: a graph is a hash, and each verb is one script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...broker import Finish, Liveness, Room, Settled
from ..graphs import Advance, Part, Taken
from .codec import LIVENESS, RECORDING, SETTLED, milliseconds, pack_rows, text, whole
from .connection import Wire
from .script import script

__all__ = ["GraphVerbs", "graph_arguments", "id_in"]

#: Numbers of nodes that are looked at in one command.
_PAGE = 250


def graph_arguments(client: str, sequence: int, part: Part, room: Room | None) -> list[Any]:
    """ARGV of graph.lua."""
    args: list[Any] = [client, sequence, part.graph, part.first, part.token, part.number, part.parts, part.added]
    args += (part.highest, milliseconds(part.result_ttl), "1" if part.custom else "")
    if part.growth is None:
        args += ("", "", "", "", "")
    else:
        claim = part.growth.delivery
        args += (claim.lane, claim.entry, claim.id, part.growth.old, part.growth.new)
    for pairs in (part.fields, part.members):
        args.append(len(pairs))
        for pair in pairs:
            args += pair
    args += (len(part.queues), *part.queues)
    for queue, sources in part.sources.items():
        limit = None if room is None else room.of(queue)
        if limit is not None:
            args += (queue, sources, limit)
    return args


def _special_arguments(batch: Sequence[Finish]) -> list[Any]:
    """ARGV of finish_special.lua behind those of finish.lua: neighbours that have everything but entry, id, outcome and
    number in common share a head."""
    args: list[Any] = []
    head: tuple[Any, ...] = ()
    count_at = 0
    for item in batch:
        claim = item.delivery
        own = (claim.lane, item.status, item.result_ttl, item.reply, item.dead, item.graph)
        if own != head:
            head = own
            args += (claim.lane, item.status.value, milliseconds(item.result_ttl), item.reply, "1" if item.dead else "")
            args += (item.graph, 0)
            count_at = len(args) - 1
        args += (claim.entry, claim.id, item.outcome, item.node)
        args[count_at] += 1
    return args


class GraphVerbs:
    """The verbs of ``Graphs``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str
    _epochs: dict[str, bytes]
    _is_recorded: bool

    async def _run(self, name: str, *args: Any) -> Any:
        return await self.wire.run(script(name), self.prefix, *args)

    async def reserve(self, graph: str, count: int) -> int:
        return int(await self._run("reserve", graph, count))

    async def push_graph(self, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
        return Taken(await self._run("graph", *graph_arguments(client, sequence, part, room)))

    async def finish_special(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness, bool]:
        rows = pack_rows(batch) if self._is_recorded else b""
        epoch = self._epochs.get(incarnation, b"?")
        args = _special_arguments(batch)
        reply = await self._run("finish_special", incarnation, epoch, "1" if repeat else "", rows, *args)
        self._is_recorded = reply[0] == RECORDING
        return [SETTLED[code] for code in reply[2:]], LIVENESS[reply[0]], bool(reply[1])

    async def advance(self) -> Advance:
        left, *cancelling = await self._run("advance")
        return Advance(left, list(map(text, cancelling)))

    async def unfinished(self, graph: str, after: int, limit: int) -> list[tuple[int, str]]:
        hash = f"{self.prefix}g:{graph}"
        state, total, staged = await self.wire.call("HMGET", hash, "state", "total", "staged")
        if state is None:
            return []
        found: list[tuple[int, str]] = []
        for numbers in _pages(after, whole(total or b"0"), _ranges(staged)):
            some = await self.wire.call("HMGET", hash, *(f"i{number}" for number in numbers))
            ids = {number: id_in(field) for number, field in zip(numbers, some, strict=True) if field}
            if ids:
                places = await self.wire.call("HMGET", f"{self.prefix}nodes", *ids.values())
                here = [b"%d|%b" % (number, graph.encode()) for number in ids]
                found += [row for row, at, own in zip(ids.items(), places, here, strict=True) if at == own]
            if len(found) >= limit:
                break
        return found[:limit]


def id_in(field: bytes) -> str:
    """The job id in the field ``i`` of a node, behind the name of its task."""
    return text(field[2 + int.from_bytes(field[:2]) :])


def _ranges(staged: bytes | None) -> list[range]:
    """The numbers that growths have reserved and not accepted."""
    firsts_and_lasts = (part.partition("-") for part in text(staged or b"").split())
    return [range(int(first), int(last) + 1) for first, _, last in firsts_and_lasts]


def _pages(after: int, total: int, left_out: Sequence[range]) -> Iterator[list[int]]:
    """The numbers above ``after`` in pages, without those that are left out."""
    for first in range(after + 1, total + 1, _PAGE):
        numbers = range(first, min(first + _PAGE, total + 1))
        if page := [number for number in numbers if not any(number in each for each in left_out)]:
            yield page
