"""What a job of a graph says of its place there: the graph, its number, the jobs whose values it takes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import msgspec

__all__ = ["NOWHERE", "Flow", "Kind", "pack_ids", "unpack_ids"]


class Kind(IntEnum):
    """What the body of a node holds."""

    #: The arguments of a call.
    PLAIN = 0
    #: A value with Refs in it, which a run of this job returned: there is nothing left to call.
    RETURNED = 1
    #: The arguments of several calls of ``Task.map``.
    CHUNK = 2
    #: A list of values with Refs in it, which a run of such calls returned.
    RETURNED_CHUNK = 3


class Flow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The place of a job in its graph; it travels in ``Job.more``, under the seal."""

    graph: str
    #: The number of the node in the graph.
    node: int
    #: Ids of the jobs whose values the body refers to by position, as ``pack_ids`` writes them.
    upstream: list[str | tuple[str, int]] = []
    #: Positions in ``upstream`` at which the body takes the value or the error, as ``.settled`` asks.
    settled: list[int] = []
    kind: int = 0


#: The place of a job that is in no graph.
NOWHERE = Flow("", 0)


def pack_ids(ids: Iterable[str]) -> list[str | tuple[str, int]]:
    """The ids in their order; consecutive ids of one client are written as the first one and their number."""
    packed: list[str | tuple[str, int]] = []
    ids = list(ids)
    if len(ids) < 2:
        # Most nodes have one upstream.
        return [*ids]
    run, following, count = "", "", 0
    for id in ids:
        if count and id == following:
            count += 1
            packed[-1] = (run, count)
        else:
            packed.append(id)
            run, count = id, 1
        following = _next_id(id)
    return packed


def unpack_ids(packed: Iterable[str | tuple[str, int]]) -> list[str]:
    """The ids that ``pack_ids`` has written."""
    ids: list[str] = []
    for item in packed:
        if isinstance(item, str):
            ids.append(item)
            continue
        id, count = item
        for _ in range(count):
            ids.append(id)
            id = _next_id(id)
    return ids


def _next_id(id: str) -> str:
    """The id that a client gives to the next job; empty: the id was not counted."""
    prefix, dash, counter = id.rpartition("-")
    if not dash or not counter or counter.strip("0123456789abcdef"):
        return ""
    following = f"{int(counter, 16) + 1:0{len(counter)}x}"
    return f"{prefix}-{following}" if len(counter) < 16 else ""
