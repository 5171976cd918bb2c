"""Control messages: what an operator's command asks of the keepers, and their answers.

They travel over the results channel, sealed as ``control``, so only processes with the secret can send them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import SealError
from ..job import WIRE_VERSION
from .seal import Sealer

__all__ = ["Answer", "Ask", "Control"]


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The question to a keeper for the state and stacks of the processes on its host."""

    version: int
    app: str
    #: Id of the question, the same each time it is sent again.
    id: str
    #: Address to which the answer is published.
    reply: str


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer of one host: its processes as plain data, and a note for the operator."""

    version: int
    app: str
    id: str
    host: str
    processes: list[dict[str, Any]]
    note: str = ""


class Control:
    """Seals and opens the control messages of one app."""

    def __init__(self, secrets: Sequence[str], app: str) -> None:
        self._sealer = Sealer(secrets, "control")
        self._app = app
        self._encode = msgspec.msgpack.Encoder().encode

    def ask(self, id: str, reply: str) -> bytes:
        return self._sealer.seal(self._encode(Ask(WIRE_VERSION, self._app, id, reply)))

    def answer(self, id: str, host: str, processes: list[dict[str, Any]], note: str = "") -> bytes:
        return self._sealer.seal(self._encode(Answer(WIRE_VERSION, self._app, id, host, processes, note)))

    def open_ask(self, sealed: bytes) -> Ask:
        """The question; SealError if it is forged, damaged, or meant for another app."""
        message: Ask = self._open(sealed, _decode_ask)
        return message

    def open_answer(self, sealed: bytes) -> Answer:
        """The answer; SealError if it is forged, damaged, or meant for another app."""
        message: Answer = self._open(sealed, _decode_answer)
        return message

    def _open(self, sealed: bytes, decode: Any) -> Any:
        try:
            message = decode(self._sealer.open(sealed))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SealError(f"This is not a control message: {error}.") from error
        if message.app != self._app or message.version != WIRE_VERSION:
            raise SealError("This control message is for another app, or from another release.")
        return message


_decode_ask = msgspec.msgpack.Decoder(Ask).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
