"""Small messages of one kind each, as msgpack behind a seal."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from ..errors import SealError
from .seal import Sealer

__all__ = ["Messages"]

M = TypeVar("M", bound=msgspec.Struct)


class Messages(Generic[M]):
    """Seals and opens messages of one kind.

    Args:
        kind: the class of the messages.
        noun: what one of them is called in errors, as in "an item of a stream".
    """

    def __init__(self, kind: type[M], noun: str) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._noun = noun

    def seal(self, sealer: Sealer, message: M) -> bytes:
        return sealer.seal(self._encode(message))

    def open(self, sealer: Sealer, sealed: bytes) -> M:
        """The message; SealError if it is forged, damaged, or of another kind."""
        try:
            return self._decode(sealer.open(sealed))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SealError(f"This is not {self._noun}: {error}.") from error
