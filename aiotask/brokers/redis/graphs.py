"""The verbs of graphs on Redis: a graph is a hash, and each verb is one script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ...broker import Finish, Liveness, Room, Settled
from ...errors import BrokerError, SealError
from ...job import decode_job
from ...wire.seal import OVERHEAD
from ..bounds import KEY_TOLD
from ..graphs import Advance, Conclusion, GraphsDue, Part, Steered, Taken
from .codec import LIVENESS, RECORDING, SETTLED, facts_of_dead, milliseconds, pack_rows, text
from .connection import Wire
from .graph_pages import find_bad, find_unfinished
from .script import script

__all__ = ["GraphVerbs", "graph_arguments", "nodes_among", "older_host"]

#: The first release that knows graphs and schedules, and seconds after which a client looks again for workers of an
#: older one.
_FIRST_RELEASE, _LOOK_EVERY = 2, 60.0


def graph_arguments(client: str, sequence: int, part: Part, room: Room | None) -> list[Any]:
    """ARGV of graph.lua."""
    args: list[Any] = [client, sequence, part.graph, part.first, part.token, part.number, part.parts, part.added]
    args += (part.highest, milliseconds(part.result_ttl), _known_by(part))
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


def _known_by(part: Part) -> str:
    """What tells that the broker knows the root: its id, where it was chosen, and its key, where it is unique."""
    rule, custom = part.unique, "1" if part.custom else ""
    return custom if rule is None else f"{custom} {rule.on_conflict} {milliseconds(max(rule.ttl, KEY_TOLD))}"


def _special_arguments(batch: Sequence[Finish]) -> list[Any]:
    """ARGV of finish_special.lua behind those of finish.lua: neighbours that have everything but entry, id, outcome and
    number in common share a head."""
    args: list[Any] = []
    head: tuple[Any, ...] = ()
    count_at = 0
    for item in batch:
        claim = item.delivery
        facts = facts_of_dead(item) if item.dead else b""
        own = (claim.lane, item.status, item.result_ttl, item.reply, facts, item.graph)
        if own != head:
            head = own
            args += (claim.lane, item.status.value, milliseconds(item.result_ttl), item.reply, facts)
            args += (item.graph, 0)
            count_at = len(args) - 1
        args += (claim.entry, claim.id, item.outcome, item.node)
        args[count_at] += 1
    return args


async def nodes_among(wire: Wire, prefix: str, ids: Sequence[str]) -> set[str]:
    """Those of the dead letters of these ids whose jobs belong to graphs that are still there."""
    graphs: dict[str, str] = {}
    for id, packed in zip(ids, await wire.call("HMGET", f"{prefix}dead:jobs", *ids), strict=True):
        if graph := _graph_of(packed or b""):
            graphs[id] = graph
    return {id for id, graph in graphs.items() if await wire.call("EXISTS", f"{prefix}g:{graph}")}


def _graph_of(packed: bytes) -> str:
    """The graph that a dead letter names, whose seal is not checked; empty: its job was in none."""
    try:
        job = decode_job(packed[4 + OVERHEAD : 4 + int.from_bytes(packed[:4])])
    except SealError:
        return ""
    return job.more.flow.graph if job.more and job.more.flow else ""


async def older_host(wire: Wire, prefix: str) -> str:
    """The host of a live incarnation of a release that knows neither graphs nor schedules; empty: there is none."""
    flat = await wire.call("HGETALL", f"{prefix}live")
    for name, facts in zip(flat[::2], flat[1::2], strict=True):
        try:
            known = msgspec.msgpack.decode(facts) if name else None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # No release has written this.
            continue
        if isinstance(known, dict) and not _is_new(known.get("release")):
            host = known.get("host")
            return str(host) if host else text(name).rpartition(".")[0]
    return ""


def _is_new(release: object) -> bool:
    return isinstance(release, int) and release >= _FIRST_RELEASE


class GraphVerbs:
    """The verbs of ``Graphs``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str
    #: Before the first ``promote`` it is not known.
    graphs_due: GraphsDue = GraphsDue.LATER
    #: When this object has looked for workers of older releases, by the monotonic clock.
    _looked_at = float("-inf")
    _epochs: dict[str, bytes]
    _is_recorded: bool

    async def _run(self, name: str, *args: Any) -> Any:
        return await self.wire.run(script(name), self.prefix, *args)

    async def reserve(self, graph: str, count: int) -> int:
        return int(await self._run("reserve", graph, count))

    async def push_graph(self, client: str, sequence: int, part: Part, room: Room | None = None) -> Taken:
        if not part.first and time.monotonic() - self._looked_at > _LOOK_EVERY:
            await self._refuse_beside_older()
        return Taken(await self._run("graph", *graph_arguments(client, sequence, part, room)))

    async def _refuse_beside_older(self) -> None:
        """Raise BrokerError while a worker of an older release lives: its scripts end nodes and limited jobs as if they
        were plain jobs, and what is downstream, or in line behind them, would wait for ever."""
        if host := await older_host(self.wire, self.prefix):
            raise BrokerError(
                f'A worker on host "{host}" is of an older release of aiotask, which knows neither graphs nor limits. '
                "Restart the workers there with this release, then send the calls again."
            )
        self._looked_at = time.monotonic()

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

    async def conclude(self, batch: Sequence[Conclusion]) -> list[bool]:
        args: list[Any] = []
        for item in batch:
            args += (item.id, item.outcome, item.status.value, milliseconds(item.result_ttl))
        return [answer == 1 for answer in await self._run("conclude", *args)]

    async def steer(self, graph: str, *, replay: bool = False, ended: bool = False) -> Steered:
        if not replay:
            return Steered(text(await self._run("steer", graph, "ended" if ended else "cancel")))
        badly, missing = await find_bad(self.wire, self.prefix, graph)
        if missing:
            return Steered("gone", missing=missing)
        answer = await self._run("steer", graph, "replay")
        return Steered(text(answer), badly if answer == b"done" else 0)

    async def unfinished(self, graph: str, after: int, limit: int) -> list[tuple[int, str]]:
        return await find_unfinished(self.wire, self.prefix, graph, after, limit)
