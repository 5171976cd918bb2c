"""The agent that sends the progress of jobs: every 0.1 s at most, in one call for all jobs of the worker."""

from __future__ import annotations

import asyncio
import logging
import time

from ..broker import Broker
from ..brokers import streams_of
from ..brokers.streams import BATCH_REPORTS, Report
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..progress import Progress, seal_progress
from ..wire.seal import Sealer
from .membership import Membership
from .run import Run

__all__ = ["Reports"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two calls.
EVERY = 0.1


class Reports:
    """Keeps the latest progress of each run until it is sent.

    Args:
        sealer: seals progress.
    """

    def __init__(self, broker: Broker, membership: Membership, sealer: Sealer) -> None:
        self._broker = broker
        self._membership = membership
        self._sealer = sealer
        self._waiting: dict[Run, Progress] = {}
        self._is_awake = asyncio.Event()
        self._has_rung = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._report_error = ErrorReporter(logger, "The broker refused the progress of jobs: %s")

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from this loop."""
        self._loop = loop

    def put(self, run: Run, progress: Progress) -> None:
        """Send this progress soon, unless a later one follows; from any thread.

        Raises:
            ConfigError: the broker keeps no progress.
        """
        streams_of(self._broker, "current_job().progress()")
        self._waiting[run] = progress
        if not self._has_rung and self._loop is not None and not self._loop.is_closed():
            self._has_rung = True
            self._loop.call_soon_threadsafe(self._is_awake.set)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._is_awake.wait()
            self._is_awake.clear()
            began = time.monotonic()
            try:
                await self.flush()
            except ConnectionLost:
                self._is_awake.set()
            await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))

    async def flush(self) -> None:
        """Send what waits: also before the ends of jobs, whose last progress has to arrive.

        Raises:
            ConnectionLost: the broker cannot be reached; what waits still waits.
        """
        async with self._lock:
            self._has_rung = False
            while self._waiting:
                batch = [(run, self._waiting[run]) for run in list(self._waiting)[:BATCH_REPORTS]]
                await self._send(batch)
                for run, progress in batch:
                    if self._waiting.get(run) is progress:
                        del self._waiting[run]

    async def _send(self, batch: list[tuple[Run, Progress]]) -> None:
        reports = [Report(run.delivery, seal_progress(self._sealer, run.job.id, each)) for run, each in batch]
        try:
            await streams_of(self._broker).report(self._membership.incarnation, reports)
        except ConnectionLost:
            raise
        except BrokerError as error:
            self._report_error(error)
