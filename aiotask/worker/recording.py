"""The agent that writes finished jobs into the history file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from ..broker import Broker, HistoryRow
from ..errors import AiotaskError, BrokerError

__all__ = ["Recorder", "Recording"]

logger = logging.getLogger("aiotask.keeper")

#: Rows in one transaction, seconds that a read waits for the first.
ROWS = 500
WAIT = 1.0


class Recorder(Protocol):
    """Where finished jobs are written; ``ResultDB``'s writer is one. It is called in a thread."""

    def record(self, rows: Sequence[HistoryRow]) -> None: ...
    def close(self) -> None: ...


class Recording:
    """Reads finished jobs from the broker, records them, and only then lets the broker forget them.

    So a row may be recorded twice (it is found by id) and is never lost. What cannot be written now
    waits on the server.
    """

    def __init__(self, broker: Broker, recorder: Recorder, name: str) -> None:
        self._broker = broker
        self._recorder = recorder
        self._name = name
        self._behind = False

    async def run(self) -> None:
        while True:
            try:
                rows = await self._broker.read_history(self._name, ROWS, WAIT)
                if rows:
                    await self._record(rows)
            except BrokerError:
                await asyncio.sleep(0.5)

    async def _record(self, rows: list[HistoryRow]) -> None:
        delay = 0.2
        while True:
            try:
                await asyncio.to_thread(self._recorder.record, rows)
                break
            except AiotaskError as error:
                if not self._behind:
                    self._behind = True
                    logger.error("History is not being recorded, trying again: %s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
        if self._behind:
            self._behind = False
            logger.info("History is being recorded again.")
        await self._broker.trim_history(list(dict.fromkeys(row.entry for row in rows)))

    async def finish(self) -> None:
        """Record what is there now."""
        while rows := await self._broker.read_history(self._name, ROWS, 0.001):
            await asyncio.to_thread(self._recorder.record, rows)
            await self._broker.trim_history(list(dict.fromkeys(row.entry for row in rows)))
