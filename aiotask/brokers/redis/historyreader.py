"""Reads the history stream for a recorder, and forgets what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ...broker import BATCH_JOBS, HistoryRow
from ...errors import BrokerError
from .keys import RECORDERS
from .messages import decode_meta
from .script import Script
from .wire import Wire

__all__ = ["HistoryReader"]

#: Milliseconds after which what another recorder has read and not recorded is taken over.
_ABANDONED = 60_000

_script = cache(Script)


class HistoryReader:
    """One recorder of an app.

    Args:
        wire: for commands; ``waiting``: for the read that blocks.
    """

    def __init__(self, wire: Wire, waiting: Wire, prefix: str) -> None:
        self._wire = wire
        self._waiting = waiting
        self._prefix = prefix
        self._key = f"{prefix}history"
        #: What this name holds has been read since the connection was made: a keeper before this one, or an
        #: answer that got lost, may have left something.
        self._is_caught_up = False

    async def read(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        """Finished jobs, those first that were read before and not recorded; waits for so many seconds."""
        try:
            entries = await self._entries(recorder, limit, timeout)
        except BrokerError as error:
            self._is_caught_up = False
            if "NOGROUP" not in str(error):
                raise
            await self._waiting.run(_script("groups"), self._prefix, RECORDERS, "history")
            return []
        rows = []
        for entry, fields in entries:
            values = dict(zip(fields[::2], fields[1::2], strict=True))
            meta = decode_meta(values.get(b"m", b""))
            rows.append(HistoryRow(entry.decode(), values.get(b"j", b""), values.get(b"o", b""), meta))
        return rows

    async def _entries(self, recorder: str, limit: int, timeout: float) -> list[Any]:
        read = ("XREADGROUP", "GROUP", RECORDERS, recorder, "COUNT", limit)
        if not self._is_caught_up:
            got = await self._waiting.call(*read, "STREAMS", self._key, "0")
            held = got[0][1] if got else []
            if entries := [entry for entry in held if entry[1]]:
                return entries
            if held:
                # Deleted while they were held.
                await self._wire.call("XACK", self._key, RECORDERS, *(entry for entry, _ in held))
            self._is_caught_up = len(held) < limit
        reply = await self._waiting.call("XAUTOCLAIM", self._key, RECORDERS, recorder, _ABANDONED, "0", "COUNT", limit)
        if entries := [entry for entry in reply[1] if entry and entry[1]]:
            return entries
        block = ("BLOCK", max(1, round(timeout * 1000)))
        got = await self._waiting.call(*read, *block, "STREAMS", self._key, ">", timeout=timeout + 5.0)
        return got[0][1] if got else []

    async def trim(self, entries: Sequence[str]) -> None:
        """These are recorded."""
        for start in range(0, len(entries), BATCH_JOBS):
            part = entries[start : start + BATCH_JOBS]
            await self._wire.call("XACK", self._key, RECORDERS, *part)
            await self._wire.call("XDEL", self._key, *part)
