"""Reads the history stream for a recorder, and forgets what is recorded."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from ...broker import BATCH_JOBS
from ...errors import BrokerError
from ..history import HistoryRow
from .codec import ROW, decode_meta, whole
from .connection import Wire
from .keys import RECORDERS
from .script import script

__all__ = ["HistoryReader", "HistoryVerbs", "rows_of", "unrecorded"]

#: Milliseconds after which entries that another recorder has read and not recorded are taken over.
_ABANDONED = 60_000

#: Least number of entries to read; the server puts up to 64 kB into one, or a single larger row.
_ENTRIES = 4


def rows_of(entry: str, fields: Sequence[bytes]) -> Iterator[HistoryRow]:
    """The rows in an entry of the history (see ``scripts/lib/history.lua``); an entry that no script wrote is one row
    that is not sealed."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    packed, at = values.get(b"r", b""), 0
    try:
        for _ in range(whole(values.get(b"n", b"0"))):
            job, outcome, meta = ROW.unpack_from(packed, at)
            at += ROW.size
            first, second, third = at + job, at + job + outcome, at + job + outcome + meta
            yield HistoryRow(entry, packed[at:first], packed[first:second], decode_meta(packed[second:third]))
            at = third
    except struct.error:
        at = 0
    if at == 0:
        yield HistoryRow(entry, b"", b"", decode_meta(b""))


async def unrecorded(wire: Wire, prefix: str) -> int:
    """Rows that wait to be recorded."""
    entries = int(await wire.call("XLEN", f"{prefix}history"))
    counted = await wire.call("HGET", f"{prefix}counts", "unrecorded") if entries else None
    return max(entries, whole(counted or b"0"))


class HistoryReader:
    """One recorder of an app.

    Args:
        wire: connection for commands.
        waiting: connection for the read that blocks.
    """

    def __init__(self, wire: Wire, waiting: Wire, prefix: str) -> None:
        self._wire = wire
        self._waiting = waiting
        self._prefix = prefix
        self._key = f"{prefix}history"
        #: Whether the pending entries of this recorder have been read since the connection was made: an earlier keeper,
        #: or a lost reply, may have left some.
        self._is_caught_up = False
        #: Rows of each entry that was read, and the mean number of rows per entry of the last read.
        self._read: dict[str, int] = {}
        self._rows_each = 100.0

    async def read(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        """Finished jobs, first those that were read before and not recorded; waits up to ``timeout`` seconds."""
        try:
            entries = await self._entries(recorder, min(limit, max(_ENTRIES, round(limit / self._rows_each))), timeout)
        except BrokerError as error:
            self._is_caught_up = False
            if "NOGROUP" not in str(error):
                raise
            await self._waiting.run(script("groups"), self._prefix, RECORDERS, "history")
            return []
        rows: list[HistoryRow] = []
        for name, fields in entries:
            entry, before = name.decode(), len(rows)
            rows += rows_of(entry, fields)
            self._read[entry] = len(rows) - before
        if rows:
            self._rows_each = len(rows) / len(entries)
        return rows

    async def _entries(self, recorder: str, limit: int, timeout: float) -> list[Any]:
        read = ("XREADGROUP", "GROUP", RECORDERS, recorder, "COUNT", limit)
        if not self._is_caught_up:
            got = await self._waiting.call(*read, "STREAMS", self._key, "0")
            pending = got[0][1] if got else []
            if entries := [entry for entry in pending if entry[1]]:
                return entries
            if pending:
                # The entries were deleted while they were pending.
                await self._wire.call("XACK", self._key, RECORDERS, *(entry for entry, _ in pending))
            self._is_caught_up = len(pending) < limit
        reply = await self._waiting.call("XAUTOCLAIM", self._key, RECORDERS, recorder, _ABANDONED, "0", "COUNT", limit)
        if entries := [entry for entry in reply[1] if entry and entry[1]]:
            return entries
        block = ("BLOCK", max(1, round(timeout * 1000)))
        got = await self._waiting.call(*read, *block, "STREAMS", self._key, ">", timeout=timeout + 5.0)
        return got[0][1] if got else []

    async def trim(self, entries: Sequence[str]) -> None:
        """Delete entries that are recorded."""
        pairs = [(entry, self._read.pop(entry, 1)) for entry in dict.fromkeys(entries)]
        for start in range(0, len(pairs), BATCH_JOBS):
            arguments = [argument for pair in pairs[start : start + BATCH_JOBS] for argument in pair]
            await self._wire.run(script("trim"), self._prefix, RECORDERS, *arguments)


class HistoryVerbs:
    """The verbs of ``History``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str
    _history: HistoryReader

    async def start_history(self) -> None:
        await self.wire.run(script("groups"), self.prefix, RECORDERS, "history")

    async def read_history(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        return await self._history.read(recorder, limit, timeout)

    async def unrecorded(self) -> int:
        return await unrecorded(self.wire, self.prefix)

    async def trim_history(self, entries: Sequence[str]) -> None:
        await self._history.trim(entries)
