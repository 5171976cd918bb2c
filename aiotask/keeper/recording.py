"""The agent that writes finished jobs into the history file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from ..brokers.hides import Hides, decode_hidden
from ..brokers.history import History, HistoryRow
from ..errors import AiotaskError, BrokerError
from ..loops.delay import DoublingDelay
from ..values.hidden import Hidden

__all__ = ["Recorder", "Recording"]

logger = logging.getLogger("aiotask.keeper")

#: Rows in one transaction, and seconds for which a read waits for the first row.
ROWS = 500
WAIT = 1.0
#: While jobs end in a burst: the share of the time that goes into recording them, the seconds for which recording is
#: throttled at most, and the rows that may wait (some 50 MB on the server).
SHARE, BURST, BACKLOG = 0.05, 5.0, 100_000
#: Seconds between two checks whether the burst is over.
TICK = 0.1
#: Seconds between two looks at what the app hides while its jobs end, and as long as nothing is known: its workers tell
#: it when they are up, and once a minute.
LOOK, LOOK_AGAIN = 60.0, 5.0


class Recorder(Protocol):
    """Where finished jobs are written; ``ResultDB``'s writer is one. It is called in a thread."""

    def record(self, rows: Sequence[HistoryRow]) -> None: ...
    def hide(self, hidden: Hidden) -> None: ...
    def close(self) -> None: ...


class Recording:
    """Reads finished jobs from the broker, records them, and only then lets the broker forget them.

    A row may be recorded twice (the file finds it by its id) and is never lost. Rows that cannot be written now
    wait on the server.

    Args:
        hides: the broker that knows which arguments the app hides, which is recorded too; None: no broker does.
    """

    def __init__(self, broker: History, recorder: Recorder, name: str, hides: Hides | None = None) -> None:
        self._broker = broker
        self._recorder = recorder
        self._name = name
        self._hides = hides
        #: When (monotonic) to look at what is hidden, and whether to do so even if no more jobs end.
        self._look_at, self._looks_again = 0.0, False
        self._behind = False
        self._delay = DoublingDelay(0.2, 2.0)
        #: Since when jobs end faster than they are recorded; when rows were last counted; the rows that waited then.
        self._burst_since: float | None = None
        self._counted_at = time.monotonic()
        self._waiting = 0

    async def run(self) -> None:
        while True:
            try:
                rows = await self._broker.read_history(self._name, ROWS, WAIT)
                took = await self._record(rows) if rows else 0.0
                if time.monotonic() >= self._look_at and (rows or self._looks_again):
                    await self._record_hidden(look_again=bool(rows))
                if rows:
                    await self._yield_to_burst(len(rows), took)
            except BrokerError:
                await asyncio.sleep(0.5)

    async def _record_hidden(self, *, look_again: bool) -> None:
        """Record which arguments the app hides, each time anew: the file may be another one by now. What was told once
        stays, even if the server forgets it.

        Args:
            look_again: if nothing was told yet, look once more in a while, even if no more jobs end.
        """
        if self._hides is None:
            return
        told, is_known = await self._hides.hidden(), False
        if told:
            # Rows wait for a file that cannot be written, and say so.
            with contextlib.suppress(AiotaskError):
                await asyncio.to_thread(self._recorder.hide, decode_hidden(told.values()))
                is_known = True
        self._look_at = time.monotonic() + (LOOK if is_known else LOOK_AGAIN)
        self._looks_again = look_again and not is_known

    async def _yield_to_burst(self, rows: int, took: float) -> None:
        """Leave the CPUs to the jobs of a burst: rows can be recorded when it is over.

        Args:
            rows: number of rows recorded.
            took: CPU seconds that recording them took.
        """
        pace = rows / max(took, 1e-6)
        rate = await self._count(rows)
        if self._waiting < ROWS:
            self._burst_since = None
            return
        if self._burst_since is None:
            self._burst_since = self._counted_at
        rested, enough = self._counted_at + took * (1 / SHARE - 1), self._burst_since + BURST
        while rate > SHARE * pace and self._counted_at < min(rested, enough) and self._waiting < BACKLOG:
            await asyncio.sleep(TICK)
            rate = await self._count(0)

    async def _count(self, recorded: int) -> float:
        """Jobs that ended per second since the last count, of which ``recorded`` were recorded meanwhile."""
        waited, counted_at = self._waiting, self._counted_at
        self._waiting, self._counted_at = await self._broker.unrecorded(), time.monotonic()
        return (self._waiting - waited + recorded) / max(self._counted_at - counted_at, 1e-6)

    async def _record(self, rows: list[HistoryRow]) -> float:
        """Record rows, trying again until the file can be written; the CPU seconds that the writing took."""
        while True:
            try:
                took = await asyncio.to_thread(self._write, rows)
                break
            except AiotaskError as error:
                if not self._behind:
                    self._behind = True
                    logger.error("History is not being recorded; trying again: %s", error)
                await asyncio.sleep(self._delay.next())
        if self._behind:
            self._behind = False
            self._delay.reset()
            logger.info("History is being recorded again.")
        await self._broker.trim_history(list(dict.fromkeys(row.entry for row in rows)))
        return took

    def _write(self, rows: list[HistoryRow]) -> float:
        began = time.thread_time()
        self._recorder.record(rows)
        return time.thread_time() - began

    async def finish(self) -> None:
        """Record the rows that wait now, as the keeper ends."""
        while rows := await self._broker.read_history(self._name, ROWS, 0.001):
            await asyncio.to_thread(self._recorder.record, rows)
            await self._broker.trim_history(list(dict.fromkeys(row.entry for row in rows)))
        await self._record_hidden(look_again=False)
