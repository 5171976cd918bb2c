"""The ledger of reports on shared memory, for the keeper that takes over from one that was killed."""

from __future__ import annotations

import mmap

import msgspec

from ..keeper.report import State

__all__ = ["ReportLedger"]

_HEAD = 64
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


class ReportLedger:
    """Two halves, one of which holds the state; made before any fork. The keeper writes the other half, and then says
    with one store which of them counts: a keeper that dies in between leaves the last state.

    Args:
        size: bytes of a half.
    """

    def __init__(self, size: int = 512 * 1024) -> None:
        self._size = size
        self._map = mmap.mmap(-1, _HEAD + 2 * size)
        self._longs: memoryview[int] = memoryview(self._map)[:_HEAD].cast("q")

    def read(self) -> State:
        length, half = divmod(self._longs[0], 2)
        if not length:
            return State()
        start = _HEAD + half * self._size
        return _decode(self._map[start : start + length])

    def write(self, state: State) -> None:
        """Keep a state; one that is too large is not kept, and a keeper that takes over begins with an earlier one."""
        packed = _encode(state)
        if len(packed) > self._size:
            return
        half = 1 - self._longs[0] % 2
        start = _HEAD + half * self._size
        self._map[start : start + len(packed)] = packed
        self._longs[0] = 2 * len(packed) + half
