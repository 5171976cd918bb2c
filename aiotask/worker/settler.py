"""The agent that reports to the broker what became of jobs, in batches as large as the last answer took to come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ..broker import BATCH_BYTES, BATCH_JOBS, Broker, Delivery, Finish, Requeue, Settled, Standing
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import Complaint
from .membership import Membership, pause
from .run import Run

__all__ = ["Settler"]

logger = logging.getLogger("aiotask.worker")


class Listener(Protocol):
    """What is told of the broker's answers."""

    @property
    def backlog(self) -> int:
        """How much is left to do about earlier answers."""
        ...

    def settled(self, deliveries: Sequence[Delivery], answers: Sequence[Settled]) -> None:
        """The broker has answered for these."""
        ...


class Settler:
    """Finishes and requeues wait here until they are settled; the connection may break meanwhile."""

    # Given to ``run``.
    _settled: Callable[[list[Delivery], Standing], None]
    _instead_of: Callable[[Finish, BrokerError], Finish]

    def __init__(self, broker: Broker, membership: Membership) -> None:
        self._broker = broker
        self._membership = membership
        self._finishes: deque[Finish] = deque()
        self._requeues: deque[Requeue] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._complain_of_finish = Complaint(logger, "The broker refused the outcome of a job; trying again: %s")
        self._complain_of_requeue = Complaint(logger, "The broker refused to requeue jobs; trying again: %s")
        #: Outcomes that were dropped and not logged yet, and when that was logged last (monotonic).
        self._dropped = 0
        self._logged_at = 0.0
        #: Some of what waits was under way when the connection broke.
        self._repeat = False
        #: Told of the answers of the broker. None: no middleware asks for them.
        self.aftermath: Listener | None = None
        self._delay = 0.05

    def finish(self, items: Sequence[Finish]) -> None:
        self._finishes.extend(items)
        self._stir()

    def requeue(self, item: Requeue) -> None:
        self._requeues.append(item)
        self._stir()

    def give_back(self, run: Run, behind: int = -1) -> None:
        """Requeue a run as if its job had not been claimed; ``behind`` as in ``Requeue``."""
        self.requeue(Requeue(run.delivery, run.job.queue, run.delivery.meta, behind=behind))

    def _stir(self) -> None:
        self._idle.clear()
        self._wake.set()

    @property
    def backlog(self) -> int:
        """How many outcomes wait here, and hooks that still run for others."""
        return len(self._finishes) + (0 if self.aftermath is None else self.aftermath.backlog)

    async def settle_all(self) -> None:
        """Return once nothing waits here."""
        await self._idle.wait()

    async def run(
        self,
        settled: Callable[[list[Delivery], Standing], None],
        instead_of: Callable[[Finish, BrokerError], Finish],
    ) -> None:
        """Until cancelled.

        Args:
            settled: called with what is no longer this worker's, and how the broker sees the worker.
            instead_of: called with a finish that the broker refuses (too large, say); gives what to send instead.
        """
        self._settled, self._instead_of = settled, instead_of
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._finishes or self._requeues:
                if self._requeues:
                    await self._send_requeues()
                if self._finishes:
                    await self._send_finishes()
            self._idle.set()

    async def _send_finishes(self) -> None:
        batch: list[Finish] = []
        size = 0
        waiting = self._finishes
        for _ in range(min(len(waiting), BATCH_JOBS)):
            item = waiting.popleft()
            batch.append(item)
            size += len(item.outcome)
            if size >= BATCH_BYTES:
                break
        while True:
            try:
                answers, standing = await self._broker.finish(self._membership.incarnation, batch, repeat=self._repeat)
            except ConnectionLost:
                self._repeat = True
                self._delay = await pause(self._delay)
            except BrokerError as error:
                if len(batch) > 1:
                    # One of them is at fault: each on its own, this one first.
                    self._finishes.extendleft(reversed(batch[1:]))
                    batch = batch[:1]
                    self._repeat = True
                    continue
                self._complain_of_finish(error)
                replacement = self._instead_of(batch[0], error)
                if replacement is batch[0]:
                    self._delay = await pause(self._delay)
                    if self._finishes:
                        # The others need not wait for it.
                        self._finishes.append(replacement)
                        return
                batch = [replacement]
            else:
                self._repeat, self._delay = self._repeat and bool(self._finishes), 0.05
                self._report([item.delivery for item in batch], answers, standing, dropped=True)
                return

    async def _send_requeues(self) -> None:
        batch: list[Requeue] = []
        while self._requeues and len(batch) < BATCH_JOBS:
            batch.append(self._requeues.popleft())
        repeat, delay = False, 0.05
        while True:
            try:
                answers, standing = await self._broker.requeue(self._membership.incarnation, batch, repeat=repeat)
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._complain_of_requeue(error)
                repeat = True
                delay = await pause(delay)
            else:
                self._report([item.delivery for item in batch], answers, standing, dropped=False)
                return

    def _report(
        self, deliveries: list[Delivery], answers: Sequence[Settled], standing: Standing, *, dropped: bool
    ) -> None:
        if dropped and Settled.NOT_YOURS in answers:
            self._log_dropped([delivery.id for delivery, answer in zip(deliveries, answers, strict=True) if not answer])
        self._settled(deliveries, standing)
        if self.aftermath is not None:
            self.aftermath.settled(deliveries, answers)

    def _log_dropped(self, ids: list[str]) -> None:
        """Log that outcomes were dropped, once a second at most: after a server was emptied there are many."""
        self._dropped += len(ids)
        if time.monotonic() - self._logged_at < 1.0:
            return
        others = f" (nor did {self._dropped - 1:,} others)" if self._dropped > 1 else ""
        logger.warning(
            "Job %s no longer belonged to this worker when it ended%s; its return value is discarded.", ids[0], others
        )
        self._dropped, self._logged_at = 0, time.monotonic()
