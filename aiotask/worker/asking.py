"""Rows of runs that wait for what the broker says of their jobs."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..broker import BATCH_JOBS
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from .rows import pick
from .run import Run

__all__ = ["AskingRow"]

T = TypeVar("T")

logger = logging.getLogger("aiotask.worker")


class AskingRow(ABC, Generic[T]):
    """A row of runs for which the broker is asked, many at a time.

    Args:
        refusal: the line of the log if the broker refuses to answer, with ``%s`` for its error.
    """

    def __init__(self, refusal: str) -> None:
        self._row: deque[Run] = deque()
        self._arrived = asyncio.Event()
        self._delay = BrokerDelay()
        self._report_error = ErrorReporter(logger, refusal)

    @abstractmethod
    async def _answers(self, ids: Sequence[str]) -> list[T]:
        """What the broker says of each of these jobs."""

    @abstractmethod
    def _learn(self, run: Run, answer: T) -> None:
        """Keep the answer of the broker for a run."""

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
                answers = await self._ask([run.job.id for run in asking])
                # Some may have been taken back meanwhile.
                here = [run for run in asking if run in self._row]
                self._row = deque(run for run in self._row if run not in here)
                for run, answer in zip(asking, answers, strict=True):
                    self._learn(run, answer)
                go_on(here)

    async def _ask(self, ids: Sequence[str]) -> list[T]:
        while True:
            try:
                answers = await self._answers(ids)
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await self._delay.wait()
            else:
                self._delay.reset()
                return answers
