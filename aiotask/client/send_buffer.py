"""The buffer of jobs on their way to the broker: handed over at once, sent in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from ..broker import Broker, Overflow, Push
from ..errors import AiotaskError, BrokerError, ConnectionLost
from ..loops.delay import DoublingDelay
from ..wire.error_form import copy_error
from .backpressure import Backpressure
from .batches import Batches
from .following import Known, drop_known, refusals
from .handed_over import ids_of, is_graph, shown
from .refusals import Refusals
from .watchers import Watchers

__all__ = ["SendBuffer"]

Refused = Callable[[list[str], Exception], bool]
#: Seconds for which a batch is tried before its jobs are refused.
SEND_TIMEOUT = 4.0
logger = logging.getLogger("aiotask.client")


class SendBuffer(Batches):
    """The jobs that one client session has handed over and the broker has not accepted yet.

    It knows no loop and no connection: the session that flushes it brings a broker. The batch under way keeps its
    sequence until it is accepted, so that it is sent again safely, by this loop, by another one, or at interpreter
    exit. Jobs whose queue is full and that may wait stay here, and are sent again.

    There is one sender at a time: the latest ``flush`` takes over from an earlier one, which returns at its next step.

    Args:
        refused: called with jobs that will not be sent; returns whether a caller waits for them.
        backpressure: the limits of queues, if the app has any.
        known: called with the ids of jobs that are others, and the ids of these.
    """

    def __init__(
        self, client: str, refused: Refused, backpressure: Backpressure | None = None, known: Known = drop_known
    ) -> None:
        super().__init__(backpressure.room if backpressure else None)
        self.client = client
        self._on_refused, self._on_known = refused, known
        self._backpressure = backpressure
        self._sender: object = None
        self._refusals = Refusals()
        self._watchers = Watchers(self.is_settled)

    async def flush(self, broker: Broker) -> None:
        """Send until the buffer is empty. A batch that cannot be sent is refused: its callers get the error."""
        me = self.take_over()
        began, doubt = 0.0, False
        delays: DoublingDelay | None = None
        while not self.empty:
            with self._steps:
                if self._sender is not me:
                    return
                batch = self.next_batch()
                if batch:
                    self._fill_row()
            if not batch:
                await self.room_retry.wait(self.waiting_for_room.values())
                continue
            began = began or time.monotonic()
            try:
                overflow, accepted = await self._send(broker, batch)
            except ConnectionLost as error:
                if self._sender is not me:
                    return
                delay = (delays := delays or DoublingDelay(0.05, 0.5)).next()
                if is_graph(sent := batch[0]):
                    began = max(began, sent.staging.moved_at)
                if time.monotonic() - began + delay > SEND_TIMEOUT:
                    # The other jobs would fail in the same way, each batch after a timeout of its own.
                    self._step(me, partial(self.refuse_all, error))
                    return
                await asyncio.sleep(delay)
                doubt = True
            except BrokerError as error:
                # The broker refuses now, but may have accepted the attempt whose answer got lost.
                error = ConnectionLost(f"{error} An earlier attempt may have succeeded.") if doubt else error
                self._step(me, partial(self.refuse, error))
                doubt = False
            else:
                began, delays, doubt = 0.0, None, False
                self._step(me, partial(self._accept_row, overflow, accepted))

    def flush_blocking(self, push: Callable[[SendBuffer, list[Push]], Overflow | None]) -> None:
        """Send every job in one attempt, for code without an event loop; what cannot be sent is refused."""
        me = self.take_over()
        while True:
            with self._steps:
                batch = self.next_batch(now=True) if self._sender is me and not self.empty else []
            if not batch:
                return
            try:
                overflow = push(self, batch)
            except AiotaskError as error:
                self._step(me, partial(self.refuse_all, error))
            else:
                self._step(me, partial(self.accept, overflow, final=True))

    def take_over(self) -> object:
        """Become the only sender, in place of one in another loop; return the object that stands for this sender."""
        me = object()
        with self._steps:
            self._sender = me
        return me

    def _step(self, sender: object, step: Callable[[], None]) -> None:
        """Take a step if ``sender`` was not replaced: a new one sends the batch under way again, with its sequence."""
        with self._steps:
            if self._sender is sender:
                step()

    async def _send(self, broker: Broker, batch: list[Push]) -> tuple[Overflow | None, int]:
        """Send the batch under way and those behind it; return what had no room, and how many batches were accepted."""
        first = batch[0]
        if is_graph(first):
            return await first.send(broker, self.client, self.sequence, self.room), 1
        if not self._behind:
            return await broker.push(self.client, self.sequence, batch, self.room, self.drop), 1
        return None, await broker.push_row(self.client, self.sequence, [batch, *self._behind])

    def _accept_row(self, overflow: Overflow | None, accepted: int) -> None:
        for _ in range(1, accepted):
            self.accept()
            self.next_batch()
        self.accept(overflow)

    def accept(self, overflow: Overflow | None = None, *, final: bool = False) -> None:
        """The broker has accepted the batch under way, except for jobs that had no room.

        Args:
            final: no job can wait for room any longer.
        """
        if overflow is None and self._tickets is None:
            self._landed()
            self._notify()
            return
        full = set(overflow.full) if overflow is not None else set()
        landed = self._land()
        lacking = {ticket: push for ticket, push in landed if push.id in full}
        if any([self.waiting_for_room.pop(ticket, None) for ticket, _ in landed if ticket not in lacking]):
            self.room_retry.reset()
        if lacking and overflow is not None:
            self._find_room(lacking, overflow, final=final)
        if overflow is not None:
            self._on_known(overflow.known)
            self._refuse_singly(*refusals(landed, overflow.refused))
        self._notify()

    def _find_room(self, lacking: dict[int, Push], overflow: Overflow, *, final: bool) -> None:
        assert self._backpressure is not None
        if self._backpressure.refuses(next(iter(lacking.values())), overflow, final=final):
            self._refuse_singly({ticket: self._backpressure.refusal(push) for ticket, push in lacking.items()}, lacking)
            return
        self.waiting_for_room |= lacking
        if overflow.oldest:
            self._tickets, self.flying = list(lacking), list(lacking.values())
            self.drop = self._backpressure.dropped(overflow.oldest)
            self.sequence += 1
        else:
            self.room_retry.postpone()

    # ---- what is not sent

    def refuse(self, error: Exception) -> None:
        """Refuse the jobs of the batch under way."""
        if self._tickets is not None:
            landed = dict(self._land())
            self._refuse_singly(dict.fromkeys(landed, error), landed)
            self._notify()
            return
        self._refusals.add_batch(self.settled + 1, self._taken, error)
        self._report([push for _, push in self._land()], error)

    def refuse_all(self, error: Exception) -> None:
        """Refuse every job in this buffer."""
        with self._steps:
            while self.next_batch(now=True):
                self.refuse(error)

    def _refuse_singly(self, errors: Mapping[int, Exception], pushes: dict[int, Push]) -> None:
        unnotified: list[tuple[Push, Exception]] = []
        self._refusals.add(errors.items())
        for ticket, error in errors.items():
            self.waiting_for_room.pop(ticket, None)
            if not self._on_refused(ids_of([pushes[ticket]]), error):
                unnotified.append((pushes[ticket], error))
        if unnotified and len(unnotified) == len(errors):
            self._report([push for push, _ in unnotified], unnotified[0][1], awaited=False)

    def _report(self, pushes: list[Push], error: Exception, *, awaited: bool | None = None) -> None:
        """Notify the callers that wait for these jobs; log the error if there are none."""
        awaited = self._on_refused(ids_of(pushes), error) if awaited is None else awaited
        if not self._notify() and not awaited:
            logger.error("%s: %s", shown(pushes), error)

    def withdraw(self, ticket: int, error: Exception) -> bool:
        """Refuse a job that waits for room. False: the job does not wait for room, or is being sent."""
        with self._steps:
            if self.is_copy or ticket not in self.waiting_for_room or ticket in (self._tickets or ()):
                return False
            push = self.waiting_for_room.pop(ticket)
            self._missing.discard(ticket)
            self._refusals.add([(ticket, error)])
            self._on_refused(ids_of([push]), error)
            self._notify()
            return True

    def error_of(self, ticket: int) -> Exception | None:
        """The error with which the job with this ticket was refused, if it was."""
        return self._refusals.of(ticket)

    # ---- who waits

    async def accepted(self, ticket: int) -> None:
        """Return once the broker has accepted this job; raise its error if it was refused."""
        if not self.is_settled(ticket):
            await self._watchers.settled(ticket)
        if (error := self.error_of(ticket)) is not None:
            raise copy_error(error)

    def _notify(self) -> bool:
        """Wake the callers that wait for a settled ticket; return whether there was one."""
        return self._watchers.notify(self.settled)
