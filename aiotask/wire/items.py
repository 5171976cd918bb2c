"""The items of a stream, sealed with their job and their number."""

from __future__ import annotations

import msgspec

from ..errors import SealError
from .messages import Messages
from .seal import Sealer

__all__ = ["Item", "open_item", "seal_item"]


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One item; ``body`` is written by the app's serializer."""

    id: str
    number: int
    body: bytes


_items = Messages(Item, "an item of a stream")


def seal_item(sealer: Sealer, id: str, number: int, body: bytes) -> bytes:
    return _items.seal(sealer, Item(id, number, body))


def open_item(sealer: Sealer, id: str, sealed: bytes) -> Item:
    """An item of this job.

    Raises:
        SealError: it is none.
    """
    item = _items.open(sealer, sealed)
    if item.id != id:
        raise SealError(f'An item of job "{item.id}" arrived under the ID "{id}".')
    return item
