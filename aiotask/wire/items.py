"""The items of a stream, sealed with their job and their number."""

from __future__ import annotations

import msgspec

from ..errors import SealError
from .seal import Sealer

__all__ = ["Item", "open_item", "seal_item"]


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One item; ``body`` is written by the app's serializer."""

    id: str
    number: int
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Item).decode


def seal_item(sealer: Sealer, id: str, number: int, body: bytes) -> bytes:
    return sealer.seal(_encode(Item(id, number, body)))


def open_item(sealer: Sealer, id: str, sealed: bytes) -> Item:
    """An item of this job.

    Raises:
        SealError: it is none.
    """
    try:
        item = _decode(sealer.open(sealed))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SealError(f"This is no item of a stream: {error}.") from error
    if item.id != id:
        raise SealError(f'An item of job "{item.id}" arrived under the ID "{id}".')
    return item
