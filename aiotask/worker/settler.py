"""The agent that reports to the broker what became of jobs, in batches as large as the last answer took to come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, cast

from ..broker import BATCH_BYTES, BATCH_JOBS, Broker, Delivery, Finish, Requeue, Settled, Standing
from ..brokers.graphs import BATCH_SPECIAL, Graphs
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import Complaint
from .membership import Membership, pause
from .run import Run

__all__ = ["Settler"]

logger = logging.getLogger("aiotask.worker")


class _Finisher(Protocol):
    """The verb that ends jobs of one kind."""

    def __call__(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> Awaitable[tuple[list[Settled], Standing]]: ...


class _Row:
    """Finishes of one kind, in their order.

    Args:
        finish: the verb that takes them.
        most: how many at a time.
    """

    def __init__(self, finish: _Finisher, most: int) -> None:
        self.finish = finish
        self.waiting: deque[Finish] = deque()
        #: Some of what waits was under way when the connection broke.
        self.repeat = False
        self.most = most


class Settler:
    """Finishes and requeues wait here until they are settled; the connection may break meanwhile.

    Args:
        agenda: called when the end of a node has left work on the agenda of the broker.
    """

    # Given to ``run``.
    _settled: Callable[[list[Delivery], Standing], None]
    _instead_of: Callable[[Finish, BrokerError], Finish]

    def __init__(self, broker: Broker, membership: Membership, agenda: Callable[[], None]) -> None:
        self._broker = broker
        self._membership = membership
        self._agenda = agenda
        self._plain = _Row(broker.finish, BATCH_JOBS)
        self._nodes = _Row(self._finish_nodes, BATCH_SPECIAL)
        self._finishes = self._plain.waiting
        self._requeues: deque[Requeue] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._complain_of_finish = Complaint(logger, "The broker refused the outcome of a job; trying again: %s")
        self._complain_of_requeue = Complaint(logger, "The broker refused to requeue jobs; trying again: %s")
        #: Outcomes that were dropped and not logged yet, and when that was logged last (monotonic).
        self._dropped = 0
        self._logged_at = 0.0
        self._delay = 0.05

    def finish(self, items: Sequence[Finish]) -> None:
        self._finishes.extend(items)
        self._stir()

    def finish_node(self, item: Finish) -> None:
        """The job is one of a graph: what is downstream of it goes on."""
        self._nodes.waiting.append(item)
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
        """How many outcomes wait here."""
        return len(self._finishes) + len(self._nodes.waiting)

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
            while self._finishes or self._requeues or self._nodes.waiting:
                if self._requeues:
                    await self._send_requeues()
                if self._finishes:
                    await self._send_finishes(self._plain)
                if self._nodes.waiting:
                    await self._send_finishes(self._nodes)
            self._idle.set()

    async def _send_finishes(self, row: _Row) -> None:
        batch: list[Finish] = []
        size = 0
        waiting = row.waiting
        for _ in range(min(len(waiting), row.most)):
            item = waiting.popleft()
            batch.append(item)
            size += len(item.outcome)
            if size >= BATCH_BYTES:
                break
        while True:
            try:
                answers, standing = await row.finish(self._membership.incarnation, batch, repeat=row.repeat)
            except ConnectionLost:
                row.repeat = True
                self._delay = await pause(self._delay)
            except BrokerError as error:
                if len(batch) > 1:
                    # One of them is at fault: each on its own, this one first.
                    waiting.extendleft(reversed(batch[1:]))
                    batch = batch[:1]
                    row.repeat = True
                    continue
                self._complain_of_finish(error)
                replacement = self._instead_of(batch[0], error)
                if replacement is batch[0]:
                    self._delay = await pause(self._delay)
                    if waiting:
                        # The others need not wait for it.
                        waiting.append(replacement)
                        return
                batch = [replacement]
            else:
                row.repeat, self._delay = row.repeat and bool(waiting), 0.05
                self._report([item.delivery for item in batch], answers, standing, dropped=True)
                return

    async def _finish_nodes(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Standing]:
        broker = cast("Graphs", self._broker)
        answers, standing, has_agenda = await broker.finish_special(incarnation, batch, repeat=repeat)
        if has_agenda:
            self._agenda()
        return answers, standing

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
            self.log_dropped([delivery.id for delivery, answer in zip(deliveries, answers, strict=True) if not answer])
        self._settled(deliveries, standing)

    def log_dropped(self, ids: list[str]) -> None:
        """Log that outcomes were dropped, once a second at most: after a server was emptied there are many."""
        self._dropped += len(ids)
        if time.monotonic() - self._logged_at < 1.0:
            return
        others = f" (nor did {self._dropped - 1:,} others)" if self._dropped > 1 else ""
        logger.warning(
            "Job %s no longer belonged to this worker when it ended%s; its return value is discarded.", ids[0], others
        )
        self._dropped, self._logged_at = 0, time.monotonic()
