"""The agent that finishes and requeues jobs at the broker, each time those that came during the last call."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate, islice
from typing import Protocol, cast

from ..broker import BATCH_BYTES, BATCH_JOBS, Broker, Delivery, Finish, Liveness, Requeue, Settled
from ..brokers import features
from ..brokers.graphs import BATCH_SPECIAL, Graphs
from ..brokers.technology import GRAPHS
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter, Throttle
from ..loops.delay import BrokerDelay
from .membership import Membership
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


class _Finisher(Protocol):
    """The verb that ends jobs of one kind."""

    def __call__(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> Awaitable[tuple[list[Settled], Liveness]]: ...


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
    """Keeps finishes and requeues until the broker has settled them, also across broken connections.

    Args:
        agenda: called when the end of a node has left work on the agenda of the broker.
    """

    # The arguments of ``run``.
    _settled: Callable[[list[Delivery], Liveness], None]
    _replacement: Callable[[Finish, BrokerError], Finish]

    def __init__(self, broker: Broker, membership: Membership, agenda: Callable[[], None]) -> None:
        self._broker = broker
        self._membership = membership
        self._agenda = agenda
        self._plain = _Row(broker.finish, BATCH_JOBS)
        self._special = _Row(self._finish_special, BATCH_SPECIAL)
        #: A broker without the verb has no special jobs.
        self._has_special = GRAPHS in features(broker.url)
        self._finishes = self._plain.waiting
        self._requeues: deque[Requeue] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._report_finish_error = ErrorReporter(logger, "The broker refused the outcome of a job; trying again: %s")
        self._report_requeue_error = ErrorReporter(logger, "The broker refused to requeue jobs; trying again: %s")
        #: Log lines about dropped outcomes: one a second, since after a server was emptied there are many.
        self._dropped_lines = Throttle(1.0)
        #: Number of ends and requeues that were handed over, and how many of them the broker has taken.
        self.handed = self.settled = 0
        #: Called with the ends of jobs that were not this worker's.
        self.disowned: Callable[[Iterable[Finish]], None] | None = None
        #: Told of the answers of the broker. None: no middleware asks for them.
        self.aftermath: Listener | None = None
        #: Awaited before the ends of special jobs and before requeues: sends what their runs have reported last.
        self.before_ends: Callable[[Sequence[Delivery]], Awaitable[None]] | None = None
        #: Between attempts to send finishes, and requeues.
        self._finish_delay, self._requeue_delay = BrokerDelay(), BrokerDelay()

    def finish(self, items: Sequence[Finish]) -> None:
        self._finishes.extend(items)
        self.handed += len(items)
        self._stir()

    def finish_special(self, item: Finish) -> None:
        """The job is one of a graph, so that what is downstream of it goes on, or is special in another way."""
        (self._special if self._has_special else self._plain).waiting.append(item)
        self.handed += 1
        self._stir()

    def requeue(self, item: Requeue) -> None:
        self._requeues.append(item)
        self.handed += 1
        self._stir()

    def give_back(self, run: Run, behind: int = -1) -> None:
        """Requeue a run as if its job had not been claimed; ``behind`` as in ``Requeue``."""
        self.requeue(Requeue(run.delivery, run.job.queue, run.delivery.meta, behind=behind))

    def _stir(self) -> None:
        self._idle.clear()
        self._wake.set()

    @property
    def backlog(self) -> int:
        """How many outcomes wait to be sent, and hooks that still run for others."""
        hooks = 0 if self.aftermath is None else self.aftermath.backlog
        return len(self._finishes) + len(self._special.waiting) + hooks

    async def settle_all(self) -> None:
        """Return once every finish and requeue is settled."""
        await self._idle.wait()

    async def run(
        self,
        settled: Callable[[list[Delivery], Liveness], None],
        replacement: Callable[[Finish, BrokerError], Finish],
    ) -> None:
        """Send finishes and requeues until cancelled.

        Args:
            settled: called with the deliveries that are no longer this worker's, and the worker's liveness.
            replacement: called with a finish that the broker refuses (too large, say); returns the one to send instead.
        """
        self._settled, self._replacement = settled, replacement
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._finishes or self._requeues or self._special.waiting:
                if self._requeues:
                    await self._send_requeues()
                if self._finishes:
                    await self._send_finishes(self._plain)
                if self._special.waiting:
                    await self._send_finishes(self._special)
            self._idle.set()

    async def _send_finishes(self, row: _Row) -> None:
        waiting = row.waiting
        sizes = list(accumulate([len(each.outcome) for each in islice(waiting, row.most)]))
        count = min(len(sizes), bisect_left(sizes, BATCH_BYTES) + 1)
        batch = [waiting.popleft() for _ in range(count)]
        while True:
            try:
                answers, liveness = await row.finish(self._membership.incarnation, batch, repeat=row.repeat)
            except ConnectionLost:
                row.repeat = True
                await self._finish_delay.wait()
            except BrokerError as error:
                if len(batch) > 1:
                    # One of the outcomes is at fault: each is sent on its own, this one first.
                    waiting.extendleft(reversed(batch[1:]))
                    batch = batch[:1]
                    row.repeat = True
                    continue
                self._report_finish_error(error)
                replacement = self._replacement(batch[0], error)
                if replacement is batch[0]:
                    await self._finish_delay.wait()
                    if waiting:
                        # The other outcomes need not wait for this one.
                        waiting.append(replacement)
                        return
                batch = [replacement]
            else:
                row.repeat = row.repeat and bool(waiting)
                if self._finish_delay.failures:
                    self._finish_delay.reset()
                if Settled.NOT_YOURS in answers and self.disowned is not None:
                    self.disowned(item for item, answer in zip(batch, answers, strict=True) if not answer)
                self._report([item.delivery for item in batch], answers, liveness, dropped=True)
                return

    async def _finish_special(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        if self.before_ends is not None:
            await self.before_ends([item.delivery for item in batch])
        broker = cast("Graphs", self._broker)
        answers, liveness, has_agenda = await broker.finish_special(incarnation, batch, repeat=repeat)
        if has_agenda:
            self._agenda()
        return answers, liveness

    async def _send_requeues(self) -> None:
        batch: list[Requeue] = []
        while self._requeues and len(batch) < BATCH_JOBS:
            batch.append(self._requeues.popleft())
        repeat = False
        while True:
            try:
                if self.before_ends is not None:
                    await self.before_ends([item.delivery for item in batch])
                answers, liveness = await self._broker.requeue(self._membership.incarnation, batch, repeat=repeat)
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_requeue_error(error)
                repeat = True
                await self._requeue_delay.wait()
            else:
                if self._requeue_delay.failures:
                    self._requeue_delay.reset()
                self._report([item.delivery for item in batch], answers, liveness, dropped=False)
                return

    def _report(
        self, deliveries: list[Delivery], answers: Sequence[Settled], liveness: Liveness, *, dropped: bool
    ) -> None:
        if dropped and Settled.NOT_YOURS in answers:
            self.log_dropped([delivery.id for delivery, answer in zip(deliveries, answers, strict=True) if not answer])
        self.settled += len(deliveries)
        self._settled(deliveries, liveness)
        if self.aftermath is not None:
            self.aftermath.settled(deliveries, answers)

    def log_dropped(self, ids: list[str]) -> None:
        """Log that the outcomes of these jobs were dropped, once a second at most."""
        count = self._dropped_lines.passes(len(ids))
        if count:
            others = f" (nor did {count - 1:,} others)" if count > 1 else ""
            logger.warning(
                "Job %s no longer belonged to this worker when it ended%s; its return value is discarded.",
                ids[0],
                others,
            )
