"""Outcomes on their way to the callers that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from itertools import islice, takewhile
from typing import Any
from weakref import ref

from ..broker import Broker, JobState, Notice
from ..errors import AiotaskError, BrokerError, ConnectionLost, SealError
from ..job import Status, is_paused_need
from ..log.throttle import Throttle
from ..loops.agent import agent
from ..outcome import decode_outcome
from ..results.result import AsyncResult
from ..wire.seal import Sealer
from .behind_parked import parked_upstream
from .following import Arrival, Following, Wait, Waiter, no_handle
from .hearers import Hearers
from .near_miss import needs_of_workers
from .no_outcome import is_parents, why_there_is_none

__all__ = ["Arrival", "Mailbox", "quietly"]

#: Seconds after which the broker is asked about a job, and number of ids in one poll. A round begins every quarter of
#: that time, so an outcome whose notice got lost is found within a second.
POLL_EVERY = 0.75
POLL_AT_MOST = 2_000
#: Polls that may find a job parked: during a deploy a worker that does not know the task may have claimed it, and a
#: worker that knows it asks for parked jobs once a second.
PARKED_POLLS = 3
#: Polls after which, again and again, a waiting job is looked at: whether it waits for one that is parked for good.
WAITING_POLLS = 8
#: Polls that may find nothing of a job that the parent of this forked process has to send.
FORK_POLLS = 5
#: Polls that may find nothing where the broker cannot know for sure: about 30 seconds.
DOUBTS = 40
#: Seconds for which the broker may be unreachable before waiting ends with the error.
RECONNECT_TIMEOUT = 30.0
#: The same for jobs that were not sent from here, if the broker has never answered this session.
FIRST_ANSWER_TIMEOUT = 3.0

#: Number of handles above which the deleted ones are removed.
SWEEP_AT = 1_000

logger = logging.getLogger("aiotask.client")


class Mailbox(Following):
    """The results channel of one session: one subscription, and polls where it may have missed a message.

    Pub/sub loses messages silently, so after every (re)subscription the stored outcomes of all awaited jobs are
    polled, and each job again once a second.
    """

    def __init__(self, broker: Broker, address: str, sealer: Sealer) -> None:
        super().__init__()
        self._broker = broker
        self.address = address
        self._sealer = sealer
        self.hearers = Hearers()
        #: Waits by job id, in the order of their last poll.
        self._waits: dict[str, Wait] = {}
        #: Handles by job id, so that an outcome is kept which arrives before it is awaited; deleted ones until a sweep.
        self._handles: dict[str, ref[AsyncResult[Any]]] = {}
        self._sweep_at = SWEEP_AT
        self._listening: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self.epoch = 0  # number of the current subscription; 0 before the first
        #: Ids that are marked for a poll, in their order, and how many of them are still to be examined in this round.
        self._to_poll: dict[str, None] = {}
        self._in_round = 0
        self._poll_now = asyncio.Event()
        #: Log lines about damaged outcomes: one a second, since every client of the broker can send any number of them.
        self._damaged_lines = Throttle(1.0)
        #: Needs that live workers meet, as of the last poll that would end the wait for a parked job.
        self._met: frozenset[str] = frozenset()

    def expect(self, result: AsyncResult[Any]) -> None:
        """Keep the outcome of this handle when it arrives. Must be cheap: called for every job that is sent."""
        result.epoch = self.epoch
        self._handles[result.id] = ref(result)
        if len(self._handles) > self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Forget deleted handles. A callback for each (see WeakValueDictionary) would cost more than all of expect."""
        # copy() runs no Python code, so no finalizer that sends can change the size of the dict meanwhile.
        for id, handle in self._handles.copy().items():
            if handle() is None and self._handles.get(id) is handle:
                self._handles.pop(id, None)
        self._sweep_at = max(SWEEP_AT, 2 * len(self._handles))

    # ---- waiting

    def add(self, result: AsyncResult[Any], waiter: Waiter, *, foreign: bool) -> None:
        """Call ``waiter`` with the outcome, or with the error of a job that will have none."""
        id = result.id
        wait = self._waits.get(id)
        if wait is None:
            wait = self._waits[id] = Wait(result, waiter)
        else:
            wait.waiters.append(waiter)
        if foreign:
            wait.foreign = True
        if foreign or result.epoch != self.epoch or self.epoch == 0:
            # What was published before this subscription was made has to be polled.
            self._to_poll[id] = None
            if self.epoch:
                self._poll_now.set()
        if self._listening is None or self._listening.done():
            self._listening = quietly(agent(self._broker.listen(self.address, self._on_notices, self._on_subscribed)))
            self._polling = quietly(agent(self._poll()))
            self._listening.add_done_callback(self._on_broken)
            self._polling.add_done_callback(self._on_broken)

    def drop(self, id: str, waiter: Waiter) -> None:
        """Remove a waiter of a job."""
        wait = self._wait_of(id, waiter)
        if wait is None:
            return
        if waiter in wait.waiters:
            wait.waiters.remove(waiter)
        if not wait.waiters:
            self._forget(wait.result.id)

    def _forget(self, id: str) -> list[Waiter]:
        wait = self._waits.pop(id, None)
        if wait is None:
            return []
        self._to_poll.pop(id, None)
        return wait.waiters

    @property
    def is_awaited(self) -> bool:
        """Whether a caller waits for a job."""
        return bool(self._waits)

    def waiting_since(self, moment: float) -> list[AsyncResult[Any]]:
        """The jobs that callers have awaited since that moment (monotonic) or before."""
        return [wait.result for wait in self._waits.values() if wait.began <= moment]

    def awaits(self, ids: Iterable[str]) -> bool:
        """Whether a caller waits for one of these jobs."""
        return any(id in self._waits for id in ids)

    def fail(self, ids: Iterable[str], error: Exception) -> bool:
        """Give the waiters of these jobs this error; return whether there was one."""
        ids = list(ids)
        if len(ids) == 1 and isinstance(error, AiotaskError) and not error.job_id:
            error.job_id = ids[0]
        waiters = [waiter for id in ids for waiter in self._forget(id)]
        for waiter in waiters:
            waiter(error)
        return bool(waiters)

    # ---- arriving

    def _on_subscribed(self) -> None:
        self.epoch += 1
        self._to_poll.update(dict.fromkeys(self._waits))
        self._poll_now.set()
        self.hearers.tell_all_to_look()

    def _on_notices(self, notices: list[Notice]) -> None:
        waits, handles = self._waits, self._handles
        for notice in notices:
            id = notice.id
            if notice.outcome is None:
                if not self.hearers.tell(notice) and id in waits:
                    self._to_poll[id] = None
                    self._poll_now.set()
            elif id in waits or id in handles:
                self._open(id, notice.outcome, stored=False)

    def _open(self, id: str, sealed: bytes, *, stored: bool) -> None:
        try:
            outcome = decode_outcome(self._sealer.open(sealed))
            if outcome.id != id:
                raise SealError(f'The outcome of job "{outcome.id}" arrived under the ID "{id}".')
            wait = self._waits.get(id)
            if wait is not None and wait.result.task != outcome.task:
                self._check_task(wait.result, outcome)
        except SealError as error:
            self._report_damaged(error)
            wait = self._waits.get(id)
            if wait is None:
                return
            # Every client can publish anything, and the true outcome may still arrive; a stored outcome is final.
            wait.misses += stored
            if wait.misses > 1:
                self.fail([id], error)
            else:
                self._to_poll[id] = None
            return
        handle = self._handles.pop(id, no_handle)()
        if handle is not None:
            handle.arrived = outcome
        for waiter in self._forget(id):
            waiter(outcome)

    def _report_damaged(self, error: SealError) -> None:
        count = self._damaged_lines.passes()
        if count:
            others = f" (and {count - 1:,} others)" if count > 1 else ""
            logger.error("An outcome was set aside%s: %s", others, error)

    # ---- polling

    async def _poll(self) -> None:
        unreachable: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_EVERY / 4):
                    await self._poll_now.wait()
            self._poll_now.clear()
            asked = self._due()
            if not asked:
                if not self._in_round:
                    unreachable = None
                # The next part of a long round follows at once.
                await asyncio.sleep(0)
                continue
            try:
                await self._ask(asked)
                unreachable = None
            except BrokerError as error:
                self._to_poll.update((id, None) for id in asked if id in self._waits)
                self._in_round = 0
                unreachable = unreachable or time.monotonic()
                self.fail(self._timed_out(error, time.monotonic() - unreachable), error)
                await asyncio.sleep(0.1)

    def _timed_out(self, error: BrokerError, since: float) -> list[str]:
        """Ids of the jobs whose wait ends now; the broker has not answered, or has refused, for ``since`` seconds."""
        if since > RECONNECT_TIMEOUT:
            return list(self._waits)
        if self.epoch == 0 and (since > FIRST_ANSWER_TIMEOUT or not isinstance(error, ConnectionLost)):
            # The broker has never answered here, and these jobs were sent elsewhere: likely a wrong URL, not a restart.
            return [id for id, wait in self._waits.items() if not _from_here(wait.result)]
        return []

    def _due(self) -> list[str]:
        """Ids to poll now: the marked ones, then those polled longest ago; at most POLL_AT_MOST."""
        now = time.monotonic()
        waits = self._waits
        asked: dict[str, None] = {}
        self._in_round = self._in_round or len(self._to_poll)
        for id in list(islice(self._to_poll, min(self._in_round, POLL_AT_MOST))):
            self._in_round -= 1
            del self._to_poll[id]
            wait = waits.get(id)
            # A job that the broker has not accepted yet would appear lost.
            if wait is not None and _accepted(wait.result):
                asked[id] = None
            elif wait is not None and (wait.foreign or not self.epoch or not _unsent(wait.result)):
                self._to_poll[id] = None
            # Else no poll is needed: an outcome of an unsent job will be published to this subscription.
        self._in_round = min(self._in_round, len(self._to_poll))
        if self._in_round:
            self._poll_now.set()
        late = takewhile(lambda item: now - item[1].since >= POLL_EVERY, waits.items())
        overdue = [id for id, _ in islice(late, max(0, POLL_AT_MOST - len(asked)))]
        asked.update((id, None) for id in overdue if _accepted(waits[id].result))
        for id in (*asked, *overdue):
            # Moved to the end: insertion order is the order of the last poll.
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
                if any(state.need and self._is_last_poll(id) for id, state in zip(group, states, strict=True)):
                    self._met = await needs_of_workers(self._broker)
                for id, state in zip(group, states, strict=True):
                    self._judge(id, state)
                waiting = [id for id, state in zip(group, states, strict=True) if state.status is Status.WAITING]
                if long := [id for id in waiting if self._has_waited_long(id)]:
                    await self._fail_behind_parked(long)

    def _has_waited_long(self, id: str) -> bool:
        wait = self._waits.get(id)
        if wait is None:
            return False
        wait.waited += 1
        return wait.waited % WAITING_POLLS == 0

    async def _fail_behind_parked(self, ids: list[str]) -> None:
        """End the wait for jobs that wait for one which is parked and which no live worker can run."""
        for id, (parked, state) in (await parked_upstream(self._broker, ids)).items():
            if (wait := self._waits.get(id)) is not None:
                error = why_there_is_none(AsyncResult(parked, wait.result._home), state, foreign=True)
                self.fail([id], type(error)(f'Job "{id}" waits for job "{parked}". {error}'))

    def _is_last_poll(self, id: str) -> bool:
        """Whether the wait for this job ends if it is found parked once more."""
        wait = self._waits.get(id)
        return wait is not None and wait.misses >= PARKED_POLLS

    def _judge(self, id: str, state: JobState) -> None:
        wait = self._waits.get(id)
        if wait is None:
            return
        if state.outcome is not None:
            self._open(id, state.outcome, stored=True)
            return
        if self.follow_state(id, state):
            return
        if state.status is not None and (state.status is not Status.PARKED or is_paused_need(state.need)):
            wait.misses = 0
            return
        if state.doubtful and wait.doubts < DOUBTS:
            wait.doubts += 1
            # Once the broker knows for sure again, the job may take a moment to be found.
            wait.misses = -1
            return
        # Parked or unknown: a later poll decides, since the job may be on its way.
        wait.misses += 1
        allowed = PARKED_POLLS if state.status is Status.PARKED else FORK_POLLS if is_parents(wait.result) else 1
        if wait.misses <= allowed and not state.refused:
            return
        if state.need and state.need in self._met:
            # A live worker has what the job needs, and takes it once there is room.
            wait.misses = 0
            return
        tasks = [need.removeprefix("task:") for need in self._met if need.startswith("task:")]
        self.fail([id], why_there_is_none(wait.result, state, foreign=wait.foreign, known_tasks=tasks))

    # ---- ending

    def _on_broken(self, task: asyncio.Task[None]) -> None:
        """Listening or polling has failed: fail all waits; the next wait starts both again."""
        if task.cancelled() or (error := task.exception()) is None or task not in (self._listening, self._polling):
            return
        if not isinstance(error, Exception):
            # A signal handler ended the program at that moment.
            return
        logger.error("Waiting for outcomes failed: %s", error, exc_info=error)
        for other in (self._listening, self._polling):
            if other is not None:
                other.cancel()
        self._listening = self._polling = None
        broken = BrokerError(f"Waiting for outcomes failed: {type(error).__name__}: {error}")
        broken.__cause__ = error
        self.fail(list(self._waits), broken)

    def close(self) -> None:
        """Stop listening, and fail all waits."""
        for task in (self._listening, self._polling):
            if task is not None:
                task.cancel()
        self.fail(list(self._waits), BrokerError("The app was closed while this result was awaited."))


def quietly(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """The task, without asyncio's warning if the user closes the loop while the task is pending."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio does for its own
    return task


def _unsent(result: AsyncResult[Any]) -> bool:
    return result.send_buffer is not None and bool(result.send_buffer.is_unsent(result.ticket))


def _from_here(result: AsyncResult[Any]) -> bool:
    """Whether this process has sent the job."""
    return result.send_buffer is not None and not result.send_buffer.is_copy


def _accepted(result: AsyncResult[Any]) -> bool:
    return result.send_buffer is None or bool(result.send_buffer.is_settled(result.ticket))
