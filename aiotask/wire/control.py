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

__all__ = ["FRESH", "STACKS", "Answer", "Ask", "Control"]

#: What is asked where no verb is named, as releases before the verbs do.
STACKS = "stacks"
#: Seconds after which a message that changes something is too old: another program may have recorded it.
FRESH = 30.0


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The request to a keeper: for the state and stacks of the processes on its host, or for a verb.

    A keeper of an earlier release reads the first four fields alone, and answers with stacks whatever is asked."""

    version: int
    app: str
    #: Id of the question, the same each time it is sent again.
    id: str
    #: Address to which the answer is published.
    reply: str
    #: ``stacks``, ``drain``, ``resume`` or ``recycle``.
    verb: str = STACKS
    #: The only host that may obey, and who asks; empty with ``stacks``.
    host: str = ""
    by: str = ""
    #: When it was asked: Unix seconds, by the broker's clock.
    at: float = 0.0


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer of one host: its processes as plain data, or what it did; and a note for the operator."""

    version: int
    app: str
    id: str
    host: str
    processes: list[dict[str, Any]]
    note: str = ""
    #: The verb that was asked for. Empty: the question was for stacks, or the host does not know verbs.
    verb: str = ""
    #: Whether the verb was done; if not, the note says why.
    done: bool = False


class Control:
    """Seals and opens the control messages of one app."""

    def __init__(self, secrets: Sequence[str], app: str) -> None:
        self._sealer = Sealer(secrets, "control")
        self._app = app
        self._encode = msgspec.msgpack.Encoder().encode

    def ask(self, id: str, reply: str) -> bytes:
        """The question for stacks."""
        return self._sealer.seal(self._encode(Ask(WIRE_VERSION, self._app, id, reply)))

    def ask_for(self, verb: str, id: str, reply: str, *, host: str, by: str, at: float) -> bytes:
        """The request to do something.

        Args:
            at: Unix seconds, by the broker's clock.
        """
        return self._sealer.seal(self._encode(Ask(WIRE_VERSION, self._app, id, reply, verb, host, by, at)))

    def answer(self, id: str, host: str, processes: list[dict[str, Any]], note: str = "") -> bytes:
        return self._sealer.seal(self._encode(Answer(WIRE_VERSION, self._app, id, host, processes, note)))

    def obeyed(self, ask: Ask, host: str, obeyed: tuple[bool, str]) -> bytes:
        """The answer to ``ask_for``: whether the verb was done, and what there is to say."""
        done, note = obeyed
        return self._sealer.seal(self._encode(Answer(WIRE_VERSION, self._app, ask.id, host, [], note, ask.verb, done)))

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
