"""The agent that gives back what dead incarnations have claimed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from ..broker import BATCH_JOBS, Broker, Delivery, Finish, Requeue, special_of
from ..brokers import features, graphs_of
from ..brokers.technology import GRAPHS
from ..errors import BrokerError, ConnectionLost, JobError, JobOutOfMemory, JobTimeout, SealError
from ..job import Job, Obituary, Status, decode_job, flow_of, with_attempt
from ..log.events import counted
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from ..values.flow import NOWHERE
from ..wire.cancel_marks import genuine_cancels
from ..wire.ended import ended
from ..wire.seal import Sealer

__all__ = ["Death", "Recovery"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two scans; a death notice makes the next one come at once.
TICK = 1.0


@dataclass(frozen=True, slots=True)
class Death:
    """What is known of an incarnation that ended."""

    incarnation: str
    #: How the process died, as text for people.
    reason: str = ""
    #: Ids of the jobs that ran when the process crashed.
    blame: tuple[str, ...] = ()
    #: Jobs for whose time limit the process was killed: seconds until the next run, -1: the job fails.
    overdue: dict[str, float] = field(default_factory=dict)
    #: The overdue jobs that exceeded another limit: ``cpu`` or ``memory``, and the text of the error.
    exceeded: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Hashes of the ids of the last jobs that the process started, if it crashed while none of them ran.
    recent: frozenset[int] = frozenset()
    #: Ids of the jobs to blame if no other job is.
    waited: tuple[str, ...] = ()
    obituary: Obituary | None = None


class Recovery:
    """Every tick requeues the jobs that are claimed by incarnations that are not live.

    It scans instead of reacting to events, so that it also finds jobs that were delivered to an incarnation after its
    death.
    """

    def __init__(
        self, broker: Broker, secrets: Sequence[str], host: str, queues: Sequence[str] = (), needs: Sequence[str] = ()
    ) -> None:
        self._broker = broker
        self._queues, self._needs = queues, needs
        self._jobs_sealer = Sealer(secrets, "job")
        self._outcomes_sealer = Sealer(secrets, "outcome")
        self._host = host
        self._deaths: deque[Death] = deque()
        #: How many jobs were given back.
        self.moved = 0
        self._nudge = asyncio.Event()
        self._report_error = ErrorReporter(
            logger, "The broker refused to requeue the jobs of dead workers; trying again: %s", KEEPER_LOG_DELAY
        )

    def report(self, death: Death) -> None:
        """Note that an incarnation has ended, and scan at once."""
        self._deaths.append(death)
        self.hurry()

    def hurry(self) -> None:
        """Scan at once instead of at the next tick."""
        self._nudge.set()

    @property
    def open(self) -> int:
        """How many reported deaths have not been dealt with."""
        return len(self._deaths)

    async def run(self) -> None:
        while True:
            try:
                await self.scan()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await asyncio.sleep(0.2)
                continue
            try:
                async with asyncio.timeout(TICK):
                    await self._nudge.wait()
            except TimeoutError:
                pass
            self._nudge.clear()

    async def scan(self) -> None:
        """Requeue the jobs of the reported incarnations, then those of all others that are not live."""
        while self._deaths:
            await self._handle_death(self._deaths[0])
            self._deaths.popleft()
        moved = 0
        while True:
            recovered = await self._broker.recover()
            moved += recovered.moved
            self.moved += recovered.moved
            if not recovered.more:
                break
        if moved:
            logger.info("Requeued %s of dead workers.", counted(moved, "job"))

    async def relieve(
        self, incarnation: str, queues: Sequence[str], needs: Sequence[str], has_started: Callable[[str], bool]
    ) -> None:
        """Requeue the jobs that a worker has claimed and not started, since its event loop is blocked."""
        claimed = await self._broker.adopt(incarnation, queues, needs)
        back = []
        for delivery in claimed:
            if not has_started(delivery.id):
                with contextlib.suppress(SealError):
                    job = decode_job(self._jobs_sealer.open(delivery.sealed))
                    back.append(Requeue(delivery, job.queue, delivery.meta))
        for start in range(0, len(back), BATCH_JOBS):
            await self._broker.requeue(incarnation, back[start : start + BATCH_JOBS])
        if back:
            unstarted = counted(len(back), "unstarted job")
            logger.warning("The event loop of %s is blocked; requeued %s.", incarnation, unstarted)

    async def cancelled(self, incarnation: str, ids: Sequence[str]) -> list[str]:
        """The ids, among these running jobs, of those that are cancelled."""
        return genuine_cancels(self._outcomes_sealer, ids, await self._broker.cancels(incarnation, ids))

    async def _handle_death(self, death: Death) -> None:
        overdue: list[Delivery] = []
        moved = 0
        blame = [*death.blame, *await self._unsettled(death)] or death.waited
        while True:
            recovered = await self._broker.recover(
                death.incarnation,
                blame=blame,
                reason=death.reason,
                obituary=death.obituary,
                keep=tuple(death.overdue),
            )
            moved += recovered.moved
            self.moved += recovered.moved
            overdue = recovered.kept
            if not recovered.more:
                break
        for delivery in overdue:
            await self._end_overdue(death, delivery)
        if overdue:
            # The consumer has no claimed jobs any more, so this call can delete it.
            await self._broker.recover(death.incarnation)
        if moved:
            logger.info("Requeued %s of %s (%s).", counted(moved, "job"), death.incarnation, death.reason or "ended")

    async def _unsettled(self, death: Death) -> list[str]:
        """Ids of jobs whose process died after they had ended, before their ends were reported: one of them may have
        damaged it. The others are blamed, too, which costs them one run alone."""
        if not death.recent:
            return []
        claimed = await self._broker.adopt(death.incarnation, self._queues, self._needs)
        ended = [delivery.id for delivery in claimed if hash(delivery.id) in death.recent]
        return [id for id in ended if id not in death.waited]

    async def _end_overdue(self, death: Death, delivery: Delivery) -> None:
        """Retry or fail a job that was killed at its time limit, as its worker noted when the job started."""
        try:
            job = decode_job(self._jobs_sealer.open(delivery.sealed))
        except SealError:
            return
        again = death.overdue[delivery.id]
        kind, words = death.exceeded.get(delivery.id, ("time", "ran longer than its time limit"))
        if await self.cancelled(death.incarnation, [delivery.id]):
            # The job is cancelled: the requeue ends it.
            await self._broker.requeue(death.incarnation, [Requeue(delivery, job.queue, delivery.meta)])
            return
        if again >= 0:
            meta = msgspec.structs.replace(delivery.meta, attempt=delivery.meta.attempt + 1)
            meta = with_attempt(meta, time.time(), death.incarnation, "killed", f"it {words}")
            # With a delay of zero the job could start before all processes of the old run are gone.
            delay = max(again, random.uniform(0.01, 0.05))
            await self._broker.requeue(death.incarnation, [Requeue(delivery, job.queue, meta, delay=delay)])
            logger.warning(
                "◔ %s %s %s, and its process was killed; it runs again in %.1f s", job.task, job.id, words, delay
            )
            return
        if kind == "memory":
            end = "its process was killed. Give the job less work, or the task a larger memory=…."
        else:
            end = f"did not react; its process was killed ({death.reason})."
        error: type[JobError] = JobOutOfMemory if kind == "memory" else JobTimeout
        message = f'Job "{job.id}" ({job.task}) {words}, and {end}'
        await self._finish(death.incarnation, self._ended(job, delivery, death, error, message))
        logger.error("◔ %s %s %s, and its process was killed", job.task, job.id, words)

    def _ended(self, job: Job, delivery: Delivery, death: Death, error: type[JobError], message: str) -> Finish:
        attempt, worker, flow = delivery.meta.attempt, death.incarnation, flow_of(job) or NOWHERE
        sealed = ended(
            self._outcomes_sealer, job.id, job.task, error, message, attempt=attempt, worker=worker, graph=flow.graph
        )
        # A dead letter only where retries were used up, as when the worker itself ends the job.
        is_dead, ttl = attempt > 1, job.result_ttl
        special = delivery.meta.saved or (job.more is not None and special_of(job.more) is not None)
        return Finish(delivery, sealed, Status.FAILED, ttl, job.reply, is_dead, flow.graph, flow.node, special)

    async def _finish(self, incarnation: str, item: Finish) -> None:
        """End a job; what waits for a node of a graph goes on, and what is special about a job ends with it."""
        if item.graph or (item.special and GRAPHS in features(self._broker.url)):
            await graphs_of(self._broker).finish_special(incarnation, [item])
        else:
            await self._broker.finish(incarnation, [item])
