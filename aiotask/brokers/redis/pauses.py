"""Pauses on Redis: a hash, which claims look at."""

from __future__ import annotations

import msgspec

from ..pauses import Pause, Standing
from .codec import text
from .connection import Wire
from .script import script

__all__ = ["PauseVerbs"]

_encode = msgspec.msgpack.Encoder().encode
#: Jobs that one call puts back into their lines at most.
_MOVED = 250
_decode = msgspec.msgpack.Decoder(Pause).decode


class PauseVerbs:
    """The part of ``RedisBroker`` that keeps pauses."""

    wire: Wire
    prefix: str

    #: How often pauses had changed when this object was told of them.
    _pauses_seen = b""

    async def pause(self, pause: Pause) -> int:
        return int(await self.wire.run(script("pause"), self.prefix, pause.id, _encode(pause)))

    async def obey(self, incarnation: str, changes: int) -> None:
        await self.wire.run(script("obey"), self.prefix, incarnation, changes)

    async def disobeying(self, id: str, changes: int) -> list[str]:
        return [text(name) for name in await self.wire.run(script("disobeying"), self.prefix, id, changes)]

    async def resume(self, id: str, *, begun: bool = False) -> bool:
        stood, more = await self.wire.run(script("resume"), self.prefix, id, "1" if begun else "", _MOVED)
        while more:
            _, more = await self.wire.run(script("resume"), self.prefix, id, "1", _MOVED)
        return bool(stood)

    async def pauses(self) -> Standing:
        flat, resumed, marks, self._pauses_seen = await self.wire.run(script("pauses"), self.prefix)
        found = [_read(text(id), packed) for id, packed in zip(flat[::2], flat[1::2], strict=True)]
        begun = {text(mark).rpartition("@")[0] for mark in marks}
        pauses = sorted(found, key=lambda pause: (pause.at, pause.id))
        seen = self._pauses_seen
        return Standing(pauses, sorted(map(text, resumed)), sorted(begun), int(seen) if seen.isdigit() else 0)


def _read(id: str, packed: bytes) -> Pause:
    """A pause; one that was spoiled by hand still stands, as far as its id says what it is of."""
    try:
        return msgspec.structs.replace(_decode(packed), id=id)
    except msgspec.MsgspecError:
        kind, _, what = id.partition(":")
        if kind == "queue":
            return Pause(id, queue=what)
        return Pause(id, task=what.partition("#")[0] or "?")
