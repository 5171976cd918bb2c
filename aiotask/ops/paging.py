"""Pages that go over several apps: their items in one order, as if they were those of one app."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from .connection import Connection

__all__ = ["Read", "items_of", "merged", "page_of_all"]

T = TypeVar("T")
#: Reads items of one app in the order of the page: limit and offset.
Read = Callable[[Connection, int, int], Awaitable[Sequence[T]]]

#: Items that are first read of each of several apps; each further read takes as many as were read before.
_FIRST = 50


async def page_of_all(
    opened: Sequence[Connection], read: Read[T], order: Callable[[T], Any], limit: int, offset: int
) -> list[tuple[Connection, T]]:
    """One page over all apps; ``limit`` and ``offset`` count the items of all of them.

    Of each of several apps no more is read than could stand on this page and those before it.

    Args:
        order: what the items are sorted by; those of one app are read in this order.
    """
    if len(opened) == 1:
        return [(opened[0], item) for item in await read(opened[0], limit, offset)]
    found: list[tuple[Connection, T]] = []
    async for item in merged([items_of(each, read, limit + offset) for each in opened], lambda item: order(item[1])):
        found.append(item)
        if len(found) >= limit + offset:
            break
    return found[offset:]


async def items_of(connection: Connection, read: Read[T], most: int) -> AsyncIterator[tuple[Connection, T]]:
    """The items of one app, ``most`` at most, read when they are asked for."""
    done = 0
    while done < most:
        wanted = min(max(_FIRST, done), most - done)
        page = await read(connection, wanted, done)
        for item in page:
            yield connection, item
        done += len(page)
        if len(page) < wanted:
            return


async def merged(streams: Sequence[AsyncIterator[T]], order: Callable[[T], Any]) -> AsyncIterator[T]:
    """The items of all streams in one order, in which each stream is; of equal ones, that of the first stream first."""
    heads: list[tuple[Any, int, T]] = []
    for number, stream in enumerate(streams):
        async for item in stream:
            heads.append((order(item), number, item))
            break
    heapq.heapify(heads)
    while heads:
        _, number, item = heads[0]
        yield item
        async for following in streams[number]:
            heapq.heapreplace(heads, (order(following), number, following))
            break
        else:
            heapq.heappop(heads)
