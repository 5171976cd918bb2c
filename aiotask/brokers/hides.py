"""Which arguments of its tasks an app hides from people; the verbs of brokers with the feature ``HIDES``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Protocol

import msgspec

from ..broker import Broker
from ..values.hidden import Hidden

__all__ = ["Hides", "decode_hidden", "encode_hidden"]

encode_hidden = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Hidden).decode


class Hides(Broker, Protocol):
    """A broker that keeps what the code of an app hides, so that tools which do not import that code hide it, too."""

    async def hide(self, by: str, packed: bytes) -> None:
        """Keep what the code of this name hides, in place of what it did before; empty: it hides nothing of its own."""
        ...

    async def hidden(self) -> dict[str, bytes]:
        """What the code of each name hides."""
        ...


def decode_hidden(packed: Iterable[bytes]) -> Hidden:
    """What all of them hide together. What cannot be read is left out: a newer release may have written it."""
    found = Hidden()
    for each in packed:
        with contextlib.suppress(msgspec.DecodeError):
            found = found.joined(_decode(each))
    return found
