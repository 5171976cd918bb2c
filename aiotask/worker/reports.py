"""The agent that sends progress and checkpoints: every 0.1 s at most, in one call for all jobs of the worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable

from ..broker import BATCH_BYTES, Broker, Delivery
from ..brokers import streams_of
from ..brokers.streams import BATCH_REPORTS, Report
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..results.progress import Progress, seal_progress
from ..wire.checkpoints import seal_checkpoint
from ..wire.seal import Sealer
from .run import Run

__all__ = ["Reports"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two calls.
EVERY = 0.1


class Reports:
    """Keeps the latest progress and the latest checkpoint of each run until they are sent.

    Args:
        progress, checkpoints: sealers.
    """

    def __init__(self, broker: Broker, progress: Sealer, checkpoints: Sealer) -> None:
        self._broker = broker
        self._progress_sealer = progress
        self._checkpoint_sealer = checkpoints
        self._progress: dict[Run, Progress] = {}
        #: Bodies.
        self._checkpoints: dict[Run, bytes] = {}
        self._is_awake = asyncio.Event()
        self._has_rung = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._report_error = ErrorReporter(logger, "The broker refused progress and checkpoints of jobs: %s")

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from this loop."""
        self._loop = loop

    def check(self, call: str) -> None:
        """Check that the broker keeps what runs report.

        Args:
            call: of the task, for the error.

        Raises:
            ConfigError: it does not.
        """
        streams_of(self._broker, call)

    def put(self, run: Run, progress: Progress) -> None:
        """Send this progress soon, unless a later one follows; from any thread.

        Raises:
            ConfigError: the broker keeps no progress.
        """
        self.check("current_job().progress()")
        self._progress[run] = progress
        self._ring()

    def put_checkpoint(self, run: Run, body: bytes) -> None:
        """Send this checkpoint soon, unless a later one follows; from any thread.

        Raises:
            ConfigError: the broker keeps no checkpoints.
        """
        self.check("current_job().checkpoint()")
        self._checkpoints[run] = body
        self._ring()

    def _ring(self) -> None:
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
        """Send what waits.

        Raises:
            ConnectionLost: the broker cannot be reached; what waits still waits.
        """
        async with self._lock:
            self._has_rung = False
            await self._send_of(self._waiting())

    async def flush_ends(self, deliveries: Iterable[Delivery]) -> None:
        """Send what waits of these runs, whose jobs end or go back next: afterwards it would be refused.

        Raises:
            ConnectionLost: as ``flush``.
        """
        if not (self._progress or self._checkpoints):
            return
        # What is under way still waits, until it has arrived.
        ending = {id(delivery) for delivery in deliveries}
        async with self._lock:
            await self._send_of([run for run in self._waiting() if id(run.delivery) in ending])

    def _waiting(self) -> list[Run]:
        return list(dict.fromkeys([*list(self._checkpoints), *list(self._progress)]))

    async def _send_of(self, runs: list[Run]) -> None:
        # What comes from now on is for the next call: a run that reports without a pause must not keep this one.
        waiting = deque(runs)
        while waiting:
            batch = self._next(waiting)
            await self._send(batch)
            for run, progress, body in batch:
                if self._progress.get(run) is progress:
                    self._progress.pop(run, None)
                if self._checkpoints.get(run) is body:
                    self._checkpoints.pop(run, None)

    def _next(self, waiting: deque[Run]) -> list[tuple[Run, Progress | None, bytes | None]]:
        """What goes into one call, taken out of these runs."""
        batch: list[tuple[Run, Progress | None, bytes | None]] = []
        size = 0
        while waiting and len(batch) < BATCH_REPORTS and size < BATCH_BYTES:
            run = waiting.popleft()
            body = self._checkpoints.get(run)
            size += len(body or b"")
            batch.append((run, self._progress.get(run), body))
        return batch

    async def _send(self, batch: list[tuple[Run, Progress | None, bytes | None]]) -> None:
        reports = [self._report(*each) for each in batch]
        try:
            await streams_of(self._broker).report(reports)
        except ConnectionLost:
            raise
        except BrokerError as error:
            self._report_error(error)

    def _report(self, run: Run, progress: Progress | None, body: bytes | None) -> Report:
        job = run.job
        return Report(
            run.delivery,
            b"" if progress is None else seal_progress(self._progress_sealer, job.id, progress),
            b"" if body is None else seal_checkpoint(self._checkpoint_sealer, job.id, job.task, body, time.time()),
        )
