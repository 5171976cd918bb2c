"""What a claim has brought becomes runs; or it is parked, rejected, ended, or given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..broker import Broker, Delivery, Requeue
from ..errors import BrokerError, SealError, UnknownTask
from ..job import decode_job, need_of
from ..loops.agent import agent
from ..tasks import Registry
from ..wire.seal import Sealer
from .endings import Endings
from .executor import resolve
from .in_hand import InHand
from .job_log import JobLog
from .life import Life
from .membership import Membership, pause
from .prefetch import AHEAD
from .run import Run
from .suspects import Solitude
from .verdict import MAX_DEATHS

__all__ = ["Intake"]


class Intake:
    """Takes deliveries in for one worker.

    Args:
        sealer: of jobs.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        life: Life,
        solitude: Solitude,
        in_hand: InHand,
        endings: Endings,
        job_log: JobLog,
        *,
        registry: Registry,
        sealer: Sealer,
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._life = life
        self._solitude = solitude
        self._in_hand = in_hand
        self._endings = endings
        self._job_log = job_log
        self._registry = registry
        self._sealer = sealer
        #: Kept here, since the loop itself keeps no task alive.
        self._rejecting: set[asyncio.Task[None]] = set()

    def take(self, deliveries: Sequence[Delivery], reliefs: int) -> None:
        """Deliveries of this worker: run, park, end or set aside each.

        Args:
            reliefs: ``InHand.reliefs`` as they were asked for.
        """
        rejected: list[tuple[Delivery, str]] = []
        convicted, syncs = list[Run](), list[Run]()
        in_hand, registry, sealer, name = self._in_hand, self._registry, self._sealer, self._membership.name
        claimed, prefetch, stuck = in_hand.claimed, in_hand.prefetch, in_hand.syncs.stuck(AHEAD)
        chooses = prefetch.chooses
        goes_back = self._life.stopping or reliefs != in_hand.reliefs or self._solitude.excludes(in_hand)
        for delivery in deliveries:
            if claimed.setdefault((delivery.lane, delivery.entry), delivery) is not delivery:
                # Lent to this worker once more, after the consumer group was destroyed: it is in hand.
                continue
            try:
                run = resolve(delivery, registry, sealer, name)
            except SealError as error:
                rejected.append((delivery, str(error)))
            except UnknownTask:
                self._park(delivery)
            else:
                run.owner = in_hand
                if delivery.meta.deaths >= MAX_DEATHS:
                    convicted.append(run)
                elif goes_back:
                    in_hand.release(run)
                else:
                    if chooses:
                        prefetch.claimed(run.task.is_async)
                    if run.flow is not None and run.flow.upstream:
                        in_hand.upstream.put(run)
                    else:
                        self._enqueue(run, stuck, syncs)
        if rejected:
            self._reject(rejected)
        if convicted:
            self._endings.convict(convicted)
        in_hand.start(syncs)

    def begin(self, run: Run) -> None:
        """A run that happens at most once: the broker knows that it begins."""
        self.go_on([run])

    def go_on(self, runs: Sequence[Run]) -> None:
        """What these runs waited for outside the rows is there."""
        syncs: list[Run] = []
        for run in runs:
            if self._life.stopping:
                self._in_hand.release(run)
            else:
                self._enqueue(run, False, syncs)
        self._in_hand.start(syncs)

    def _enqueue(self, run: Run, stuck: bool, syncs: list[Run]) -> None:
        """Into its row; sync runs to ``syncs``, since they go into theirs together."""
        task = run.task
        if stuck and not task.is_async:
            self._in_hand.prefetch.back_off()
            self._in_hand.release(run, surplus=True)
        elif task.acks == "early" and not run.begun and not run.calls_nothing:
            self._in_hand.at_most_once.put(run)
        elif task.is_async:
            self._in_hand.asyncs.put(run)
        else:
            syncs.append(run)

    def _park(self, delivery: Delivery) -> None:
        """This worker does not have the task, or is of too old a release: the job waits for one that can run it."""
        job = decode_job(self._sealer.open(delivery.sealed))
        need = need_of(job) or f"task:{job.task}"
        self._job_log.parked(job, need)
        self._in_hand.settler.requeue(Requeue(delivery, job.queue, delivery.meta, need=need, reply=job.reply))

    def _reject(self, rejected: list[tuple[Delivery, str]]) -> None:
        """These are no jobs of this app, for the reasons given: set them aside at the broker."""
        for delivery, reason in rejected:
            self._job_log.rejected(delivery, reason)
        rejecting = agent(self._set_aside(rejected))
        self._rejecting.add(rejecting)
        rejecting.add_done_callback(self._rejecting.discard)

    async def _set_aside(self, rejected: list[tuple[Delivery, str]]) -> None:
        delay = 0.05
        while True:
            try:
                await self._broker.reject(self._membership.incarnation, rejected)
                break
            except BrokerError as error:
                self._membership.say_lost(error)
                delay = await pause(delay)
        self._in_hand.forget([delivery for delivery, _ in rejected])
