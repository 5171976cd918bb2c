"""Outcomes on their way to who waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from typing import Any
from weakref import ref

from ..broker import Broker, JobState, Notice
from ..errors import AiotaskError, BrokerError, ConnectionLost, SealError
from ..job import Status
from ..loops.agent import agent
from ..outcome import Outcome, decode_outcome
from ..result import AsyncResult
from ..wire.seal import Sealer
from .near_miss import tasks_of_workers
from .no_outcome import is_parents, why_there_is_none

__all__ = ["Arrival", "Mailbox", "quietly"]

#: Seconds after which what is overdue is looked at, and how many ids one look holds. With the time until the next
#: round, a quarter of it, what was published to nobody is known within a second.
LOOK_EVERY = 0.75
LOOK_AT_MOST = 2_000
#: Looks that may find a job parked: in the middle of a deploy it was claimed by a worker that does not know the
#: task, and one that does states for parked jobs once a second.
PARKED_LOOKS = 3
#: Looks that may find nothing of a job that the parent of this forked process has to send.
FORK_LOOKS = 5
#: Looks that may find nothing where the broker cannot tell: some 30 s.
DOUBTS = 40
#: Seconds for which the broker may be out of reach before waiting ends with the error.
PATIENCE = 30.0
#: The same for a handle on a job that was not sent from here, where the broker has never answered.
FIRST_PATIENCE = 3.0

#: Handles above which the dead ones are looked for.
SWEEP_AT = 1_000

logger = logging.getLogger("aiotask.client")

Arrival = Outcome | Exception
Waiter = Callable[[Arrival], None]


class _Wait:
    """Who waits for one job, and what the states at it found."""

    __slots__ = ("began", "doubts", "foreign", "misses", "result", "since", "waiters")

    def __init__(self, result: AsyncResult[Any], waiter: Waiter) -> None:
        self.result = result
        self.waiters = [waiter]
        #: It was not sent from here, or has an id that somebody else may have.
        self.foreign = False
        #: When it was looked at last (monotonic), or its wait began.
        self.since = self.began = time.monotonic()
        self.misses = self.doubts = 0


class Mailbox:
    """The results channel of one session: one subscription, and a look wherever that could have missed something.

    Pub/sub loses silently, so every (re)subscription is followed by a look at the stored outcomes of
    all waiters, and what is overdue is looked up once a second.
    """

    def __init__(self, broker: Broker, address: str, sealer: Sealer) -> None:
        self._broker = broker
        self.address = address
        self._sealer = sealer
        #: By id, in the order of the last look.
        self._waits: dict[str, _Wait] = {}
        #: Handles, so that an outcome is kept that comes before anybody awaits it; of dead ones until a sweep.
        self._handles: dict[str, ref[AsyncResult[Any]]] = {}
        self._sweep_at = SWEEP_AT
        self._listening: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        #: Number of the subscription that stands; 0 before the first.
        self.epoch = 0
        #: Ids that are marked for a look, in the order in which it comes to them, and how many of them are still to be
        #: examined in this round.
        self._to_look: dict[str, None] = {}
        self._in_round = 0
        self._look_now = asyncio.Event()
        #: Outcomes that were set aside and not said yet, and when that was said last (monotonic).
        self._damaged, self._said = 0, 0.0
        #: Tasks of live workers, as of the last look that found a task which none of them knows.
        self._known_tasks: frozenset[str] = frozenset()

    def expect(self, result: AsyncResult[Any]) -> None:
        """Keep the outcome of this handle when it comes. Cheap: called for every job that is sent."""
        result.epoch = self.epoch
        self._handles[result.id] = ref(result)
        if len(self._handles) > self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Forget dead handles. A callback for each (as WeakValueDictionary has) would cost more than all of expect."""
        # A copy is made without a line of Python: no finalizer that sends can change the size of what is copied.
        for id, handle in self._handles.copy().items():
            if handle() is None and self._handles.get(id) is handle:
                self._handles.pop(id, None)
        self._sweep_at = max(SWEEP_AT, 2 * len(self._handles))

    # ---- waiting

    def add(self, result: AsyncResult[Any], waiter: Waiter, *, foreign: bool) -> None:
        """Call ``waiter`` with the outcome, or with why there will be none."""
        id = result.id
        wait = self._waits.get(id)
        if wait is None:
            wait = self._waits[id] = _Wait(result, waiter)
        else:
            wait.waiters.append(waiter)
        if foreign:
            wait.foreign = True
        if foreign or result.epoch != self.epoch or self.epoch == 0:
            # Whatever was told before this subscription stood has to be looked up.
            self._to_look[id] = None
            if self.epoch:
                self._look_now.set()
        if self._listening is None or self._listening.done():
            self._listening = quietly(agent(self._broker.listen(self.address, self._heard, self._ready)))
            self._looking = quietly(agent(self._look()))
            self._listening.add_done_callback(self._broke)
            self._looking.add_done_callback(self._broke)

    def drop(self, id: str, waiter: Waiter) -> None:
        """Nobody waits there any more."""
        wait = self._waits.get(id)
        if wait is None:
            return
        if waiter in wait.waiters:
            wait.waiters.remove(waiter)
        if not wait.waiters:
            self._forget(id)

    def _forget(self, id: str) -> list[Waiter]:
        wait = self._waits.pop(id, None)
        if wait is None:
            return []
        self._to_look.pop(id, None)
        return wait.waiters

    @property
    def is_awaited(self) -> bool:
        """Whether a caller waits for a job."""
        return bool(self._waits)

    def waiting_since(self, moment: float) -> list[AsyncResult[Any]]:
        """The jobs that callers have awaited since that moment (monotonic) or before."""
        return [wait.result for wait in self._waits.values() if wait.began <= moment]

    def awaits(self, ids: Iterable[str]) -> bool:
        """Whether a caller waits for one of these."""
        return any(id in self._waits for id in ids)

    def fail(self, ids: Iterable[str], error: Exception) -> bool:
        """There will be no outcome for these; whether anybody was waiting."""
        ids = list(ids)
        if len(ids) == 1 and isinstance(error, AiotaskError) and not error.job_id:
            error.job_id = ids[0]
        waiters = [waiter for id in ids for waiter in self._forget(id)]
        for waiter in waiters:
            waiter(error)
        return bool(waiters)

    # ---- arriving

    def _ready(self) -> None:
        self.epoch += 1
        self._to_look.update(dict.fromkeys(self._waits))
        self._look_now.set()

    def _heard(self, notices: list[Notice]) -> None:
        waits, handles = self._waits, self._handles
        for notice in notices:
            id = notice.id
            if notice.outcome is None:
                if id in waits:
                    self._to_look[id] = None
                    self._look_now.set()
            elif id in waits or id in handles:
                self._open(id, notice.outcome, stored=False)

    def _open(self, id: str, sealed: bytes, *, stored: bool) -> None:
        try:
            outcome = decode_outcome(self._sealer.open(sealed))
            if outcome.id != id:
                raise SealError(f'The outcome of job "{outcome.id}" arrived under the ID "{id}".')
        except SealError as error:
            self._complain(error)
            wait = self._waits.get(id)
            if wait is None:
                return
            # Anybody can say anything: the true one may come yet. What is stored is all there will be.
            wait.misses += stored
            if wait.misses > 1:
                self.fail([id], error)
            else:
                self._to_look[id] = None
            return
        handle = self._handles.pop(id, _nobody)()
        if handle is not None:
            handle.arrived = outcome
        for waiter in self._forget(id):
            waiter(outcome)

    def _complain(self, error: SealError) -> None:
        """A line a second at most: whoever can reach the broker can send any number of them."""
        self._damaged += 1
        if time.monotonic() - self._said >= 1.0:
            others = f" (and {self._damaged - 1:,} others)" if self._damaged > 1 else ""
            logger.error("An outcome was set aside%s: %s", others, error)
            self._damaged, self._said = 0, time.monotonic()

    # ---- looking

    async def _look(self) -> None:
        unreachable: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY / 4):
                    await self._look_now.wait()
            self._look_now.clear()
            asked = self._due()
            if not asked:
                if not self._in_round:
                    unreachable = None
                # The next part of a long round comes at once.
                await asyncio.sleep(0)
                continue
            try:
                await self._ask(asked)
                unreachable = None
            except BrokerError as error:
                self._to_look.update((id, None) for id in asked if id in self._waits)
                self._in_round = 0
                unreachable = unreachable or time.monotonic()
                self.fail(self._hopeless(error, time.monotonic() - unreachable), error)
                await asyncio.sleep(0.1)

    def _hopeless(self, error: BrokerError, since: float) -> list[str]:
        """Who need not wait longer for a broker that does not answer, or refuses, since so many seconds."""
        if since > PATIENCE:
            return list(self._waits)
        if self.epoch == 0 and (since > FIRST_PATIENCE or not isinstance(error, ConnectionLost)):
            # It has never answered here, and those were sent elsewhere: more likely a wrong address than a restart.
            return [id for id, wait in self._waits.items() if not _from_here(wait.result)]
        return []

    def _due(self) -> list[str]:
        """What was marked for a look, and the longest overdue of the rest; a part of very many."""
        now = time.monotonic()
        waits = self._waits
        asked: dict[str, None] = {}
        self._in_round = self._in_round or len(self._to_look)
        for id in list(islice(self._to_look, min(self._in_round, LOOK_AT_MOST))):
            self._in_round -= 1
            del self._to_look[id]
            wait = waits.get(id)
            # A job that the broker has not accepted yet would look lost.
            if wait is not None and _accepted(wait.result):
                asked[id] = None
            elif wait is not None and (wait.foreign or not self.epoch or not _unsent(wait.result)):
                self._to_look[id] = None
            # Else there is nothing to look for: what becomes of it is told while this subscription stands.
        self._in_round = min(self._in_round, len(self._to_look))
        if self._in_round:
            self._look_now.set()
        late = takewhile(lambda item: now - item[1].since >= LOOK_EVERY, waits.items())
        overdue = [id for id, _ in islice(late, max(0, LOOK_AT_MOST - len(asked)))]
        asked.update((id, None) for id in overdue if _accepted(waits[id].result))
        for id in (*asked, *overdue):
            # To the end of the row: insertion order is the order of the last look.
            wait = waits.pop(id)
            wait.since = now
            waits[id] = wait
        return list(asked)

    async def _ask(self, ids: list[str]) -> None:
        foreign = {id for id in ids if id in self._waits and self._waits[id].foreign}
        own = [id for id in ids if id not in foreign]
        others = [id for id in ids if id in foreign]
        for group, address in ((own, ""), (others, self.address)):
            if group:
                states = await self._broker.status(group, address)
                if any(
                    state.need.startswith(("task:", "release:")) and self._misses(id)
                    for id, state in zip(group, states, strict=True)
                ):
                    self._known_tasks = await tasks_of_workers(self._broker)
                for id, state in zip(group, states, strict=True):
                    self._judge(id, state)

    def _misses(self, id: str) -> bool:
        """Whether the next look that finds this job parked is the last one."""
        wait = self._waits.get(id)
        return wait is not None and wait.misses >= PARKED_LOOKS

    def _judge(self, id: str, state: JobState) -> None:
        wait = self._waits.get(id)
        if wait is None:
            return
        if state.outcome is not None:
            self._open(id, state.outcome, stored=True)
            return
        if state.status is not None and state.status is not Status.PARKED:
            wait.misses = 0
            return
        if state.doubtful and wait.doubts < DOUBTS:
            wait.doubts += 1
            # It may be found again, a little after all is well.
            wait.misses = -1
            return
        # Parked or unknown: a later look decides, since the job may be on its way.
        wait.misses += 1
        patience = PARKED_LOOKS if state.status is Status.PARKED else FORK_LOOKS if is_parents(wait.result) else 1
        if wait.misses > patience or state.refused:
            why = why_there_is_none(wait.result, state, foreign=wait.foreign, known_tasks=self._known_tasks)
            self.fail([id], why)

    # ---- ending

    def _broke(self, task: asyncio.Task[None]) -> None:
        """Nothing arrives any more: say so to who waits, and begin anew with the next one."""
        if task.cancelled() or (error := task.exception()) is None or task not in (self._listening, self._looking):
            return
        if not isinstance(error, Exception):
            # A signal's handler ended the program just then.
            return
        logger.error("Waiting for outcomes failed: %s", error, exc_info=error)
        for other in (self._listening, self._looking):
            if other is not None:
                other.cancel()
        self._listening = self._looking = None
        broken = BrokerError(f"Waiting for outcomes failed: {type(error).__name__}: {error}")
        broken.__cause__ = error
        self.fail(list(self._waits), broken)

    def close(self) -> None:
        """Stop listening; who still waits is told."""
        for task in (self._listening, self._looking):
            if task is not None:
                task.cancel()
        self.fail(list(self._waits), BrokerError("The app was closed while this result was awaited."))


def quietly(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """A task that ends with its loop: if the user closes the loop over it, that is nothing to complain of."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio does for its own
    return task


def _nobody() -> None:
    """Stands for the handle that there is none of."""


def _unsent(result: AsyncResult[Any]) -> bool:
    return result.outbox is not None and bool(result.outbox.is_unsent(result.ticket))


def _from_here(result: AsyncResult[Any]) -> bool:
    """Whether this process has sent it."""
    return result.outbox is not None and not result.outbox.is_copy


def _accepted(result: AsyncResult[Any]) -> bool:
    return result.outbox is None or bool(result.outbox.is_settled(result.ticket))
