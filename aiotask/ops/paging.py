"""Pages that go over several apps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .connection import Connection

__all__ = ["Read", "page_of_all"]

#: Reads items of one app: limit and offset.
Read = Callable[[Connection, int, int], Awaitable[list[dict[str, Any]]]]


async def page_of_all(opened: list[Connection], read: Read, limit: int, offset: int) -> list[dict[str, Any]]:
    """One page over all apps, in their order: ``limit`` and ``offset`` count the items of all of them."""
    page: list[dict[str, Any]] = []
    for each in opened:
        found = await read(each, limit - len(page), offset)
        page += found
        if len(page) >= limit:
            break
        # This app has been read to its end. Its items before the page must not be skipped once more in the next app.
        offset = 0 if found else offset - await _count(each, read, offset)
    return page


async def _count(connection: Connection, read: Read, most: int) -> int:
    """How many items this app has, ``most`` at most."""
    counted = 0
    while counted < most and (found := await read(connection, min(500, most - counted), counted)):
        counted += len(found)
    return counted
