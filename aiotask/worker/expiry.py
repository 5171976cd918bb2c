"""Jobs that expire: the worker asks the broker how many seconds are left, since only the broker's clock tells."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from ..broker import BATCH_JOBS, Broker
from ..brokers import features
from ..brokers.expiry import Expiry
from ..brokers.technology import EXPIRY
from ..errors import BrokerError, ConnectionLost, JobExpired
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from ..wire.expiry_text import expiry_text
from .rows import pick
from .run import Run

__all__ = ["Expiries", "expired", "is_expired"]

logger = logging.getLogger("aiotask.worker")


class Expiries:
    """A row of runs that wait for the answer of the broker; jobs that do not expire never come here."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        #: Whether the broker knows; a worker on another one judges by its own clock.
        self.asks = EXPIRY in features(broker.url)
        self._row: deque[Run] = deque()
        self._arrived = asyncio.Event()
        self._delay = BrokerDelay()
        self._report_error = ErrorReporter(logger, "The broker refused to say when jobs expire; trying again: %s")

    def put(self, run: Run) -> None:
        """Append a run to the row."""
        self._row.append(run)
        self._arrived.set()

    def take_back(self) -> list[Run]:
        """Empty the row."""
        back = list(self._row)
        self._row.clear()
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here."""
        return pick(self._row, id)

    async def run(self, go_on: Callable[[Sequence[Run]], None]) -> None:
        """Ask, and call ``go_on`` with the runs that are answered for, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while asking := [run for run, _ in zip(self._row, range(BATCH_JOBS), strict=False)]:
                left = await self._ask([run.job.id for run in asking])
                at = time.monotonic()
                # Some may have been taken back meanwhile.
                here = [run for run in asking if run in self._row]
                self._row = deque(run for run in self._row if run not in here)
                for run, seconds in zip(asking, left, strict=True):
                    run.expires_mono = 0.0 if seconds is None else at + seconds
                go_on(here)

    async def _ask(self, ids: Sequence[str]) -> list[float | None]:
        broker = cast("Expiry", self._broker)
        while True:
            try:
                left = await broker.seconds_left(ids)
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await self._delay.wait()
            else:
                self._delay.reset()
                return left


def is_expired(run: Run) -> bool:
    """Whether no run of this job may start any more: by the broker's answer, else by the clocks of sender and worker.

    A replay of a dead letter is asked for by people, who want the run: it does not expire."""
    if run.delivery.meta.series:
        return False
    if run.expires_mono:
        return time.monotonic() >= run.expires_mono
    return time.time() >= _moment(run)


def _moment(run: Run) -> float:
    """When the job expires, in Unix seconds; seconds count from the send on, as the sender's clock had it."""
    more = run.job.more
    assert more is not None
    if run.expires_mono:
        return time.time() + run.expires_mono - time.monotonic()
    return more.expires if more.expires > 0 else run.job.sent_at - more.expires


def expired(run: Run) -> JobExpired:
    """The error of a run that was to start too late."""
    return JobExpired(expiry_text(run.job.id, run.task.name, run.delivery.meta.attempt, _moment(run)))
