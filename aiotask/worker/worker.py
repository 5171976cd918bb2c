"""A worker: claims deliveries in one event loop, and runs each to its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ..broker import Broker, Claim, Delivery, Finish, Requeue, Standing
from ..errors import BrokerError, ConnectionLost, JobCancelled, JobError, SealError, UnknownTask, WorkerLost
from ..job import decode_job
from ..log.events import EventLog
from ..log.throttle import Complaint
from ..loops.agent import agent
from ..tasks import Registry
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from .async_lane import AsyncLane
from .at_most_once import Early
from .cancellation import Cancels
from .endings import Clerk
from .executor import call_async, resolve
from .membership import Membership, pause
from .parents import Parents
from .prefetch import AHEAD, Prefetch
from .run import Marks, Run
from .seats import Seats
from .settler import Settler
from .suspects import Solitude, Suspects
from .sync_lane import SyncLane
from .verdict import MAX_DEATHS, SUCCEEDED, Verdict, What, convict, judge

__all__ = ["Hooks", "Worker"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that a blocking claim waits, and after which there is one that does not block: it alone hears of
#: suspects, and that this worker is dead.
BLOCK = 1.0
#: Seconds between two looks around while nothing waits here.
IDLE = 0.5
#: Outcomes that the broker does not take, above which nothing more is claimed.
BACKLOG = 10_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the surroundings of a worker do for it."""

    #: It was declared dead, its jobs went to others. None: start anew under another name.
    dead: Callable[[], None] | None = None
    #: It has run as many jobs as it should.
    full: Callable[[], None] | None = None
    #: Stop this sync run now (a cancel): best effort.
    interrupt: Callable[[Run], None] | None = None
    #: A suspect runs with no other job beside it (True), or that is over (False).
    alone: Callable[[bool], None] | None = None


class Worker:
    """One app's deliveries in one event loop.

    It sees a registry and a broker, never an app. Async jobs run here, up to ``max_in_flight``; sync
    jobs in the threads that serve the lane. ``run`` returns when it has been stopped and drained.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        broker: Broker,
        secrets: Sequence[str],
        serializer: Serializer,
        host: str,
        number: str,
        queues: Sequence[str],
        lane: SyncLane,
        marks: Marks,
        log: EventLog,
        max_in_flight: int = 100,
        seats: Seats | None = None,
        solitude: Solitude | None = None,
        burst: bool = False,
        max_jobs: int | None = None,
        hooks: Hooks | None = None,
        facts: dict[str, object] | None = None,
        recorded: bool = False,
    ) -> None:
        self._registry = registry
        self._broker = broker
        self._jobs_sealer = Sealer(secrets, "job")
        self.serializer = serializer
        self.name = f"{host}.{number}"
        # The queues, and the same queues in the order of the next claim.
        self.queues, self._turns = list(queues), deque(queues)
        python = f"python:{sys.version_info[0]}.{sys.version_info[1]}"
        self._needs = [*(f"task:{name}" for name in registry.names), python]
        self._lane = lane
        self._marks = marks
        self._log = log
        self._burst = burst
        self._max_jobs = max_jobs
        self._hooks = hooks or Hooks()
        self._prefetch = Prefetch(
            syncs=any(not task.is_async for task in registry),
            asyncs=any(task.is_async for task in registry),
            max_in_flight=max_in_flight,
        )
        self._clerk = Clerk(
            worker=self.name,
            jobs_sealer=self._jobs_sealer,
            outcomes_sealer=Sealer(secrets, "outcome"),
            serializer=serializer,
            log=log,
        )
        self._complain = Complaint(logger, "The broker refused to hand out jobs; trying again: %s")
        self._settler = Settler(broker, self._settled, self._clerk.instead_of)
        self._membership = Membership(broker, marks, host=host, number=number, facts=facts or {}, recorded=recorded)
        self._held: dict[Key, Delivery] = {}
        self._forgotten: set[Key] | None = None
        self._in_lane = 0
        #: When a claim did not block last, and when one was refused (monotonic).
        self._heard = self._refused = 0.0
        #: Seconds that the answer to the last claim took that did not block.
        self._answer = 0.0
        # Several workers of one process share them, and so the limit.
        self.seats = Seats(max_in_flight) if seats is None else seats
        self._solitude = solitude or Solitude()
        self._suspects = Suspects(
            broker,
            self._membership,
            self._solitude,
            self.queues,
            member=self,
            perform=self._perform_alone,
            make_way=self._make_way,
            reliefs=lambda: self._reliefs,
            alone=self._hooks.alone,
            stopping=lambda: self._stopping,
        )
        self._asyncs = AsyncLane(self.seats, self._perform, self._close, marks, lane.peak)
        self._parents = Parents(self._asyncs)
        self._cancels = Cancels(
            broker,
            Sealer(secrets, "outcome"),
            marks,
            (self._asyncs, lane),
            self,
            held=lambda: [delivery.id for delivery in self._held.values()],
            take_back=self._take_back,
            interrupt=self._hooks.interrupt,
            give_up=self._give_up,
        )
        self._early = Early(broker, lost=self._clerk.lost, room=self._early_room, go=self._go, gone=self._gone)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed, self._crowded = asyncio.Event(), asyncio.Event()
        self._stopping, self._claiming = False, True
        self._waker: asyncio.Task[None] | None = None
        self.jobs = 0
        #: Parked lanes that exist for what this worker offers, looked up by the tick.
        self._parked_lanes: list[str] = []
        #: Held here, since the loop itself keeps no task alive.
        self._rejecting: set[asyncio.Task[None]] = set()
        #: How often what it held unstarted was taken from it.
        self._reliefs = 0
        self.up = asyncio.Event()

    # ---- life

    async def run(self) -> None:
        """Work until stopped, then give back what has not started, finish what runs, and return."""
        self._loop = asyncio.get_running_loop()
        self._lane.attach(self._loop)
        work = (self._settler.run(), self._tick(), self._cancels.run(), self._early.run())
        agents = [agent(each) for each in (self._serve(), *work)]
        try:
            # Only the first one ends by itself. Without one of the others a worker would be alive and useless.
            done, _ = await asyncio.wait(agents, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            if self._waker is not None:
                agents.append(self._waker)
            for each in agents:
                each.cancel()
            await asyncio.gather(*agents, return_exceptions=True)
            self._log.flush()

    async def _serve(self) -> None:
        await self._enlist()
        self.up.set()
        await self._suspects.run_first()
        await self._claim_for_ever()
        self._claiming = False
        await self._drain()

    def stop(self) -> None:
        """Claim no more; ``run`` returns when what runs has ended."""
        if not self._stopping:
            self._stopping = True
            self._stir()
            self._waker = agent(self._wake())

    async def _wake(self) -> None:
        """End the claim that blocks; repeated, since one that is just about to block does not hear the first call."""
        while self._claiming:
            with contextlib.suppress(BrokerError):
                await self._broker.wake()
            await asyncio.sleep(0.02)

    def abort(self) -> None:
        """Cancel the async jobs that run; they go back to their queue."""
        for task, run in list(self._asyncs.running.items()):
            run.stopped = True
            task.cancel()

    async def _drain(self) -> None:
        self._give_back_unstarted()
        while self._asyncs.running or self._in_lane or self._early.asked:
            self._parents.give_back({run.job.id for run in self._running()})
            # A job may come to wait for others in a step of its own, without an event that says so.
            await self._wait_for_change(0.1)
            self._give_back_unstarted()
        await self._settler.settle_all()

    @property
    def incarnation(self) -> str:
        """Under which name the broker knows it."""
        return self._membership.incarnation

    async def _enlist(self) -> None:
        await self._membership.enlist(lambda: self._stopping)
        self._settler.incarnation = self._early.incarnation = self.incarnation
        if self.incarnation:
            self._cancels.follow(self.incarnation)

    # ---- claiming

    async def _claim_for_ever(self) -> None:
        quick, delay = True, 0.05
        while not self._stopping:
            if self._solitude.excludes(self):
                await self._solitude.end()
                continue
            # Asked first: a pause that is over a moment after there was no room would be a wait without end.
            rest = self._prefetch.pause
            room = self._room()
            if room <= 0:
                await self._wait_for_change(rest or None)
                continue
            asked, reliefs = time.monotonic(), self._reliefs
            try:
                claim = await self._ask(quick, asked, room)
                if self._membership.lost:
                    await self._adopt(claim.deliveries)
                    self._membership.say_found()
            except ConnectionLost as error:
                self._membership.say_lost(error)
                delay = await pause(delay)
                continue
            except BrokerError as error:
                self._complain(error)
                self._refused = asked
                delay = await pause(delay)
                continue
            delay = 0.05
            if not await self._stand(claim.standing):
                continue
            if claim.suspects:
                await self._suspects.run_alone()
                # A death leaves several of them as a rule: the next one is asked for at once.
                quick = True
                continue
            self.take(claim.deliveries, reliefs)
            if self._burst and not claim.deliveries:
                if not self._held:
                    return
                await self._wait_for_change(0.1)
            if not claim.deliveries and asked - self._refused < BLOCK:
                await self._wait_for_change(0.1)
            # A claim that blocked found the queue empty: stay in the blocking read, which is the quicker one then. One
            # that brought several did not block; and that read takes from every lane alike, whatever its priority.
            quick = len(claim.deliveries) > 1 or (bool(claim.deliveries) and (quick or not self._has_blocked(asked)))

    async def _ask(self, quick: bool, now: float, room: int) -> Claim:
        """What the queues hold; where they are empty, what comes first."""
        # A claim takes as much as fits from the first queue that has jobs of the best priority: each queue is the first
        # one in turn, so that a long one starves no other.
        self._turns.rotate(-1)
        queues = list(self._turns)
        if self._suspects.wait_for_others(now) and not self._burst:
            # This one passes by suspects.
            claim = await self._broker.wait(self.incarnation, queues, self._parked_lanes, 0.02)
            if not claim.deliveries:
                self._suspects.take_turn()
            return claim
        # After a refusal without blocking: that passes by a lane that is none any more, and a blocking read does not.
        if quick or self._burst or now - self._heard > BLOCK or now - self._refused < BLOCK:
            self._heard = now
            claim = await self._broker.claim(self.incarnation, queues, self._parked_lanes, room)
            self._answer = time.monotonic() - now
            return claim
        return await self._broker.wait(self.incarnation, queues, self._parked_lanes, BLOCK)

    def _has_blocked(self, asked: float) -> bool:
        # Beside a job that holds the GIL, even an answer that was there at once is heard of late; and from a server far
        # away none comes sooner than the one before.
        return time.monotonic() - asked > max(0.01 if self._lane.busy else 0.002, 1.5 * self._answer)

    def _room(self) -> int:
        if self._settler.backlog >= BACKLOG:
            return 0
        lane = self._lane
        room, full_of_async = self._prefetch.room(
            running=self.seats.taken,
            ready=self._asyncs.waiting + self._early.waiting(is_async=True),
            waiting=lane.waiting + self._early.waiting(is_async=False),
            free=lane.threads - lane.busy,
            stuck=lane.stuck(AHEAD),
            full=self._asyncs.stuck(AHEAD),
        )
        if self._prefetch.chooses:
            self._prefetch.adapt(room, full_of_async)
        return room

    async def _stand(self, standing: Standing) -> bool:
        """Go on under this name? Otherwise this worker is dead, or it has another one now."""
        if standing is Standing.LIVE:
            return True
        if standing is Standing.DEAD:
            logger.error("This worker (%s) was declared dead, and its jobs were requeued.", self.incarnation)
            if self._hooks.dead is not None:
                self._hooks.dead()
            self.abort()
            self._held.clear()
        else:
            logger.warning("The broker has no record of its workers (was it emptied?); registering again.")
        await self._enlist()
        return False

    async def _adopt(self, claimed: Sequence[Delivery]) -> None:
        """After a broken connection: run what the broker lent us in an answer that got lost.

        The broker tells of what was claimed just now too, and that is to run once.
        """
        self._forgotten = {(delivery.lane, delivery.entry) for delivery in claimed}
        reliefs = self._reliefs
        try:
            deliveries = await self._broker.adopt(self.incarnation, self.queues, self._needs)
            mine = [d for d in deliveries if (d.lane, d.entry) not in self._held]
            self.take([d for d in mine if (d.lane, d.entry) not in self._forgotten], reliefs)
        finally:
            self._forgotten = None

    async def _perform_alone(self, deliveries: Sequence[Delivery], reliefs: int) -> None:
        self.take(deliveries, reliefs)
        await self._become_idle()

    async def _make_way(self) -> None:
        self._give_back_unstarted()
        await self._become_idle()

    async def _become_idle(self) -> None:
        """Return when nothing runs, or a stop is near; jobs that wait for others may wait for what comes next."""
        while not self._stopping and len(self._held) > sum(run.waits > 0 for run in self._asyncs.running.values()):
            await self._wait_for_change(None)

    async def _wait_for_change(self, timeout: float | None) -> None:
        self._changed.clear()
        if timeout is None:
            await self._changed.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()

    def _stir(self) -> None:
        self._changed.set()
        self._early.stir()

    # ---- running

    def take(self, deliveries: Sequence[Delivery], reliefs: int) -> None:
        """Deliveries of this worker: run, park, convict or set aside each.

        Args:
            reliefs: the count when they were asked for.
        """
        rejected: list[tuple[Delivery, str]] = []
        syncs, convicted = list[Run](), list[Finish]()
        held, registry, sealer, name = self._held, self._registry, self._jobs_sealer, self.name
        stuck, chooses = self._lane.stuck(AHEAD), self._prefetch.chooses
        goes_back = self._stopping or reliefs != self._reliefs or self._solitude.excludes(self)
        for delivery in deliveries:
            if held.setdefault((delivery.lane, delivery.entry), delivery) is not delivery:
                # Lent to this worker once more, after somebody destroyed the consumer group: it is in hand.
                continue
            try:
                run = resolve(delivery, registry, sealer, name)
            except SealError as error:
                rejected.append((delivery, str(error)))
                self._clerk.rejected(delivery, str(error))
            except UnknownTask:
                self._park_unknown(delivery)
            else:
                run.owner = self
                if delivery.meta.deaths >= MAX_DEATHS:
                    self._conclude(run, convict(run), convicted, dead=True)
                elif goes_back:
                    self._release(run)
                else:
                    if chooses:
                        self._prefetch.claimed(run.task.is_async)
                    self._enqueue(run, stuck, syncs)
        if rejected:
            rejecting = agent(self._reject(rejected))
            self._rejecting.add(rejecting)
            rejecting.add_done_callback(self._rejecting.discard)
        if convicted:
            self._finish(convicted)
        self._start(syncs)

    def _enqueue(self, run: Run, stuck: bool, syncs: list[Run]) -> None:
        """Into its row; sync runs to ``syncs``, since they go into theirs together."""
        task = run.task
        if stuck and not task.is_async:
            self._prefetch.back_off()
            self._release(run, surplus=True)
        elif task.acks == "early" and not run.begun:
            self._early.put(run)
        elif task.is_async:
            self._asyncs.put(run)
        else:
            syncs.append(run)

    def _start(self, syncs: list[Run]) -> None:
        """Begin what has been enqueued."""
        self._crowded.set()
        if syncs:
            self._in_lane += len(syncs)
            self._lane.put(syncs)
        self._asyncs.start()

    def _early_room(self) -> tuple[int, int]:
        """How many async and sync jobs may begin that run once at most: what is begun should start at once."""
        lane = self._lane
        return self.seats.free - self._asyncs.waiting, lane.threads - lane.busy - lane.waiting

    def _go(self, run: Run) -> None:
        """The broker knows that it begins."""
        if self._stopping:
            self._release(run)
        else:
            syncs: list[Run] = []
            self._enqueue(run, False, syncs)
            self._start(syncs)

    def _gone(self, run: Run) -> None:
        """It went to somebody else while it waited to begin."""
        self._forget([run.delivery])
        self._stir()

    async def _reject(self, rejected: list[tuple[Delivery, str]]) -> None:
        delay = 0.05
        while True:
            try:
                await self._broker.reject(self.incarnation, rejected)
                break
            except BrokerError as error:
                self._membership.say_lost(error)
                delay = await pause(delay)
        self._forget([delivery for delivery, _ in rejected])
        self._stir()

    def _park_unknown(self, delivery: Delivery) -> None:
        job = decode_job(self._jobs_sealer.open(delivery.sealed))
        self._clerk.parked(job)
        self._settler.requeue(Requeue(delivery, job.queue, delivery.meta, need=f"task:{job.task}", reply=job.reply))

    def _perform(self, run: Run) -> Coroutine[Any, Any, None]:
        return call_async(run, self.serializer, self._marks, self._clerk.started)

    def _running(self) -> list[Run]:
        syncs = [run for run in list(self._lane.current.values()) if run.owner is self]
        return [*self._asyncs.running.values(), *syncs]

    @property
    def suspended(self) -> list[Run]:
        """Async runs that have begun and wait for something."""
        return list(self._asyncs.running.values())

    def leave_seat(self, run: Run) -> bool:
        """This run waits for the outcome of another job; others go on. False: that is in another loop."""
        if asyncio.get_running_loop() is not self._loop:
            return False
        self.seats.leave(run)
        self._marks.set_away(run.slot, True)
        self._loop.call_soon(self._asyncs.start)
        self._stir()
        return True

    def back_to_seat(self, run: Run) -> None:
        """One of its tasks waits no more."""
        if run.waits == 0 and not run.ended:
            self._marks.set_away(run.slot, False)

    def _close(self, runs: list[Run]) -> None:
        """An attempt to run each of them is over."""
        finishes: list[Finish] = []
        for run in runs:
            if run.abandoned:
                continue
            if run.started_at == 0.0 and (run.error is None or isinstance(run.error, asyncio.CancelledError)):
                # Cancelled before its first step, or taken back: it has not run.
                self._release(run)
                continue
            self._conclude(run, SUCCEEDED if run.error is None else self._judge(run), finishes)
        self._finish(finishes)

    def _judge(self, run: Run) -> Verdict:
        try:
            verdict = judge(run, run.error)
        except BaseException as error:
            return Verdict(What.FAILED, self._untold(run, error))
        if run.begun and verdict.what is What.RELEASE:
            reason = WorkerLost(
                f'Job "{run.job.id}" ({run.task.name}) was stopped, and with acks="early" it does not run again.'
            )
            return Verdict(What.FAILED, reason)
        return verdict

    def collect(self, runs: list[Run]) -> None:
        """Sync runs have ended; called in the loop by the lane."""
        self._in_lane -= len(runs)
        self._prefetch.resume()
        self._close(runs)

    # ---- ending

    def _conclude(self, run: Run, verdict: Verdict, finishes: list[Finish], *, dead: bool = False) -> None:
        """Word the end of a run for the broker; ``finishes`` takes what is to be handed over with ``_finish``."""
        self.jobs += 1
        self._prefetch.measure(run.task.is_async, run.took)
        try:
            self._settle(run, verdict, finishes, dead)
        except BaseException as error:
            self._settle(run, Verdict(What.FAILED, self._untold(run, error)), finishes, dead)

    def _untold(self, run: Run, error: BaseException) -> JobError:
        """What a job ends with where what it raised or returned cannot be looked at: its caller does not wait."""
        logger.error("The end of job %s could not be reported as it was.", run.job.id, exc_info=error)
        run.traceback = ""
        return JobError(
            f'The end of job "{run.job.id}" ({run.task.name}) could not be reported, since inspecting its value '
            f"or error raised {type(error).__name__}. See the log of its worker."
        )

    def _settle(self, run: Run, verdict: Verdict, finishes: list[Finish], dead: bool) -> None:
        if run.started_at and not run.said:
            self._clerk.started(run)
        self._clerk.ended(run, verdict, dead=dead)
        if run.stopped:
            self._parents.ended(run, goes_back=verdict.what is What.RELEASE)
        requeue = None if verdict is SUCCEEDED else self._clerk.requeue(run, verdict)
        if requeue is None:
            finishes.append(self._clerk.finish(run, verdict, dead=dead))
        else:
            self._settler.requeue(requeue)

    def _finish(self, finishes: list[Finish]) -> None:
        """Hand over to the broker what has ended."""
        if finishes:
            self._settler.finish(finishes)
        self._stir()
        if self._max_jobs is not None and self.jobs >= self._max_jobs and self._hooks.full is not None:
            self._max_jobs = None
            self._hooks.full()

    def _release(self, run: Run, *, surplus: bool = False) -> None:
        """It goes back as if it had not been claimed.

        A surplus of one kind goes behind the rest: at its head it would be claimed again and again, and what
        there is room for would never come up.
        """
        behind = run.job.priority if surplus and self._prefetch.chooses else -1
        self._settler.requeue(Requeue(run.delivery, run.job.queue, run.delivery.meta, behind=behind))

    def _settled(self, deliveries: list[Delivery], standing: Standing) -> None:
        self._forget(deliveries)
        if standing is Standing.DEAD and self._hooks.dead is not None:
            self._hooks.dead()
        self._stir()

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        held = self._held
        for delivery in deliveries:
            held.pop((delivery.lane, delivery.entry), None)
        if self._forgotten is not None:
            self._forgotten.update((delivery.lane, delivery.entry) for delivery in deliveries)

    def _give_back_unstarted(self) -> None:
        """What has not started goes back without an attempt counted."""
        back = self._lane.take_back(self)
        self._in_lane -= len(back)
        back += self._asyncs.take_back()
        back += self._early.take_back()
        for run in back:
            self._release(run)

    def _take_back(self, id: str) -> bool:
        """Give back one job that was cancelled before it started, if it is here."""
        run = self._asyncs.pick(id) or self._early.pick(id)
        if run is None and (run := self._lane.pick(self, id)) is not None:
            self._in_lane -= 1
        if run is None:
            return False
        self._release(run)
        return True

    def _give_up(self, run: Run) -> None:
        """It was cancelled and goes on, and nobody can end it here."""
        run.took = time.monotonic() - run.started_mono
        run.finished_at = run.started_at + run.took
        reason = JobCancelled(
            f'Job "{run.job.id}" ({run.task.name}) was cancelled, but it did not react to the cancel.'
        )
        finishes: list[Finish] = []
        self._conclude(run, Verdict(What.CANCELLED, reason), finishes)
        self._finish(finishes)

    def relieved(self) -> None:
        """The loop stood still, and meanwhile the keeper gave to others what had not started here; what a claim
        that is under way brings may be among it."""
        self._reliefs += 1
        self._give_back_unstarted()
        self._stir()

    # ---- the tick

    async def _tick(self) -> None:
        """Jobs stuck behind long ones, cancels, parked jobs that this worker can run."""
        last = 0.0
        while True:
            self._asyncs.start()
            for run in list(self._lane.current.values()):
                # A sync job starts in another thread; what takes longer is said while it runs.
                if run.owner is self and not run.said and run.started_at:
                    self._clerk.started(run)
            self._give_back_surplus()
            if time.monotonic() - last >= 0.95:
                last = time.monotonic()
                self._log.tick()
                await self._look_around()
            if not self._lane.waiting and not self._asyncs.waiting:
                self._crowded.clear()
                try:
                    async with asyncio.timeout(IDLE):
                        await self._crowded.wait()
                except TimeoutError:
                    continue
            await asyncio.sleep(max(AHEAD / 2, self._lane.until_stuck(AHEAD)))

    def _give_back_surplus(self) -> None:
        """What stands behind long jobs, or was claimed while jobs were shorter: a peer may be free for it."""
        back: list[Run] = []
        stuck = self._lane.stuck(AHEAD)
        keep = 0 if stuck else self._prefetch.max_waiting
        if self._lane.waiting > keep:
            back = self._lane.take_back(self, keep)
            self._in_lane -= len(back)
            if back and stuck:
                self._prefetch.back_off()
        if stuck:
            back += self._early.take_back(sync_only=True)
        if self._asyncs.stuck(AHEAD):
            back += self._asyncs.take_back()
        for run in back:
            self._release(run, surplus=True)

    async def _look_around(self) -> None:
        if not self.incarnation:
            return
        try:
            await self._cancels.tick()
            parked = await self._broker.parked(self._needs)
            if parked != self._parked_lanes:
                self._parked_lanes = parked
                if parked:
                    await self._broker.wake()
        except BrokerError as error:
            self._membership.say_lost(error) if isinstance(error, ConnectionLost) else None
