"""Reads graphs from the server by pages of node numbers, so that no command reads more than a page."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence

from ..graphs import CHUNK
from .codec import text, whole
from .connection import Wire

__all__ = [
    "DROPPED",
    "Head",
    "edges_of",
    "field_rows",
    "find_bad",
    "find_unfinished",
    "id_in",
    "pages",
    "read_head",
    "task_in",
]

#: Numbers of nodes that are looked at in one command.
_PAGE = 250
#: The letter at a node that ended badly and cannot run again: its envelope is lost.
_LOST = b"l"
#: The letter at a follow-up that was dropped since what it follows ended badly.
DROPPED = b"d"


class Head:
    """What a graph says of itself.

    Args:
        fields: state, total, left, staged, at and blank, as they stand on the server.
    """

    def __init__(self, fields: Sequence[bytes | None]) -> None:
        #: Whether a run has ever returned calls into it.
        self.has_grown = fields[3] is not None
        state, total, left, staged, at, blank = (field or b"" for field in fields)
        self.state = text(state)
        #: The highest number given to a node.
        self.total = whole(total)
        self.left = max(0, whole(left))
        #: Unix seconds when it came into its state.
        self.at = float(at or 0)
        firsts_and_lasts = (part.partition("-") for part in text(staged).split())
        #: The numbers that growths have reserved and not accepted.
        self.staged = [range(int(first), int(last) + 1) for first, _, last in firsts_and_lasts]
        #: Number of jobs. Some numbers are of none: those of accepts and of dropped follow-ups, and the second one of a
        #: job that grew.
        self.jobs = max(0, self.total - whole(blank) - sum(map(len, self.staged)))


async def read_head(wire: Wire, prefix: str, graph: str) -> Head | None:
    """What a graph says of itself; None: there is no graph of this id, or it was not accepted."""
    head = Head(await wire.call("HMGET", f"{prefix}g:{graph}", "state", "total", "left", "staged", "at", "blank"))
    return head if head.state and head.state != "d" else None


def pages(head: Head, after: int, limit: int = 0) -> Iterator[list[int]]:
    """The numbers of accepted nodes above ``after`` in pages, which may be empty."""
    last = head.total if not limit else min(head.total, after + limit)
    for first in range(after + 1, last + 1, _PAGE):
        numbers = range(first, min(first + _PAGE, last + 1))
        yield [number for number in numbers if not any(number in staged for staged in head.staged)]


async def field_rows(
    wire: Wire, hash: str, kinds: Sequence[str], numbers: Collection[int]
) -> dict[int, tuple[bytes | None, ...]]:
    """These fields of nodes, each kind named by its letter (``n.0``: the first chunk of upstream numbers)."""
    if not numbers:
        return {}
    names = [f"{kind[0]}{number}{kind[1:]}" for number in numbers for kind in kinds]
    flat = await wire.call("HMGET", hash, *names)
    width = len(kinds)
    return {number: tuple(flat[n * width : (n + 1) * width]) for n, number in enumerate(numbers)}


async def edges_of(wire: Wire, hash: str, number: int, first: bytes | None) -> tuple[int, ...]:
    """The numbers upstream of a node, whose first chunk is known."""
    edges: tuple[int, ...] = ()
    chunk, at = first, 0
    while chunk:
        # What was spoiled by hand may end within a number.
        edges += struct.unpack_from(f">{len(chunk) // 4}I", chunk)
        at += 1
        chunk = await wire.call("HGET", hash, f"n{number}.{at}") if len(chunk) == 4 * CHUNK else None
    return edges


def id_in(field: bytes) -> str:
    """The job id in the field ``i`` of a node, behind the name of its task."""
    return text(field[2 + int.from_bytes(field[:2]) :])


def task_in(field: bytes) -> str:
    """The name of the task in the field ``i`` of a node."""
    return text(field[2 : 2 + int.from_bytes(field[:2])])


async def find_unfinished(wire: Wire, prefix: str, graph: str, after: int, limit: int) -> list[tuple[int, str]]:
    """Number and id of nodes that have not ended, with numbers above ``after``."""
    head = await read_head(wire, prefix, graph)
    if head is None or head.state == "e":
        return []
    found: list[tuple[int, str]] = []
    for numbers in pages(head, after):
        rows = await field_rows(wire, f"{prefix}g:{graph}", ["i"], numbers)
        ids = {number: id_in(field) for number, (field,) in rows.items() if field}
        if ids:
            places = await wire.call("HMGET", f"{prefix}nodes", *ids.values())
            here = [f"{number}|{graph}".encode() for number in ids]
            found += [row for row, at, own in zip(ids.items(), places, here, strict=True) if at == own]
        if len(found) >= limit:
            break
    return found[:limit]


async def find_bad(wire: Wire, prefix: str, graph: str) -> tuple[int, str]:
    """How many jobs of a graph a replay runs again, and the id of a job whose value they need and which is gone.

    Dropped follow-ups do not count: whether they run is decided by how the jobs end that they follow."""
    head = await read_head(wire, prefix, graph)
    if head is None or head.state != "e":
        return 0, ""
    hash, count = f"{prefix}g:{graph}", 0
    for numbers in pages(head, 0):
        rows = await field_rows(wire, hash, ["b", "i", "n.0"], numbers)
        for number, (bad, field, chunk) in rows.items():
            if bad in (None, DROPPED) or field is None:
                continue
            if bad == _LOST:
                return 0, id_in(field)
            if await wire.call("HSTRLEN", hash, f"e{number}"):
                count += 1
                if missing := await _missing(wire, prefix, hash, await edges_of(wire, hash, number, chunk)):
                    return 0, missing
    return count, ""


async def _missing(wire: Wire, prefix: str, hash: str, upstream: Sequence[int]) -> str:
    """The id of a job among these that ended well, and whose value is gone."""
    for start in range(0, len(upstream), _PAGE):
        rows = await field_rows(wire, hash, ["b", "i"], upstream[start : start + _PAGE])
        ids = [id_in(field) for bad, field in rows.values() if field and not bad]
        if ids and await wire.call("EXISTS", *(f"{prefix}r:{id}" for id in ids)) < len(ids):
            for id in ids:
                if not await wire.call("EXISTS", f"{prefix}r:{id}"):
                    return id
    return ""
