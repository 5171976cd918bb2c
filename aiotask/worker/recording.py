"""The agent that writes finished jobs into the history file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from ..broker import Broker, HistoryRow
from ..errors import AiotaskError, BrokerError

__all__ = ["Recorder", "Recording"]

logger = logging.getLogger("aiotask.keeper")

#: Rows in one transaction, seconds that a read waits for the first.
ROWS = 500
WAIT = 1.0
#: While jobs end in a burst, the share of the time that goes into recording them, for so many seconds at most and with
#: so many rows waiting (some 50 MB on the server); seconds between two looks whether the burst is over.
SHARE, BURST, BACKLOG = 0.05, 5.0, 100_000
LOOK = 0.1


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
        #: Since when jobs end faster than they are recorded (monotonic), and the rows that waited at the last look.
        self._burst_since: float | None = None
        self._waiting = 0

    async def run(self) -> None:
        while True:
            try:
                rows = await self._broker.read_history(self._name, ROWS, WAIT)
                if rows:
                    began = time.monotonic()
                    await self._record(rows)
                    await self._give_way(len(rows), time.monotonic() - began)
            except BrokerError:
                await asyncio.sleep(0.5)

    async def _give_way(self, rows: int, took: float) -> None:
        """Leave the processors to the jobs of a burst: what has to be recorded can wait until it is over.

        Args:
            rows: how many were recorded; ``took``: in how many seconds.
        """
        pace, now = rows / max(took, 1e-6), time.monotonic()
        ended, seconds = await self._ended(rows), took
        if self._waiting < ROWS:
            self._burst_since = None
            return
        if self._burst_since is None:
            self._burst_since = now
        rested = now + took * (1 / SHARE - 1)
        while (
            ended > SHARE * pace * seconds
            and now < rested
            and now < self._burst_since + BURST
            and self._waiting < BACKLOG
        ):
            await asyncio.sleep(LOOK)
            ended, seconds, now = await self._ended(0), time.monotonic() - now, time.monotonic()

    async def _ended(self, recorded: int) -> int:
        """Jobs that ended since the last look, of which so many were recorded."""
        before, self._waiting = self._waiting, await self._broker.unrecorded()
        return self._waiting - before + recorded

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
