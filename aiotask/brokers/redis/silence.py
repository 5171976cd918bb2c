"""How long the other end of a connection has said nothing and taken nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import sys
import termios
from collections.abc import Iterable
from types import TracebackType
from typing import SupportsIndex

__all__ = ["Silence", "count_pieces", "pieces"]

#: Looks at a connection until it counts as silent.
_LOOKS = 4


class _CountedReader(asyncio.StreamReader):
    """Counts the pieces that arrive, of which a large reply has many."""

    pieces: int

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.pieces += 1
        super().feed_data(data)


def count_pieces(reader: asyncio.StreamReader) -> None:
    """Count what arrives at this reader from now on."""
    # redis-py makes its readers itself; one that held a wrapper of its own method would outlive its connection.
    reader.__class__ = _CountedReader
    assert isinstance(reader, _CountedReader)
    reader.pieces = 0


def pieces(reader: asyncio.StreamReader | None) -> int:
    """How many have arrived; -1 where nothing is counted."""
    return reader.pieces if isinstance(reader, _CountedReader) else -1


class Silence:
    """Ends its block with TimeoutError once nothing has moved for so many seconds, in either direction.

    Not when all of it took longer: on a slow line a large reply does, and asking again would end in the same way.
    """

    def __init__(self, seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._seconds = seconds
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # What is on its way out is first measured by the first look.
        self._pieces, self._unsent = pieces(self._reader), -1
        self._ends = self._loop.time() + self._seconds
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(self._seconds / _LOOKS, self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _look(self) -> None:
        now, arrived, unsent = self._loop.time(), pieces(self._reader), self._count_unsent()
        if arrived != self._pieces or unsent < self._unsent:
            self._ends = now + self._seconds
        self._pieces, self._unsent = arrived, unsent
        if now >= self._ends:
            self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_at(min(self._ends, now + self._seconds / _LOOKS), self._look)

    def _count_unsent(self) -> int:
        """Bytes that the other end has not taken yet, as far as this system can tell."""
        unsent = 0
        with contextlib.suppress(Exception):
            unsent = self._writer.transport.get_write_buffer_size()
            if sys.platform == "linux":
                fd = self._writer.get_extra_info("socket").fileno()
                unsent += struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4))[0]
        return unsent
