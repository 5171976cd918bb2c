"""From the deliveries of a claim to runs; deliveries that cannot run here are parked, rejected, ended or given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..broker import Broker, Delivery, Requeue
from ..errors import BrokerError, SealError, UnknownTask
from ..job import decode_job, need_of
from ..loops.agent import agent
from ..loops.delay import BrokerDelay
from ..tasks.task import Registry
from ..wire.seal import Sealer
from .admission import Admission
from .endings import Endings
from .executor import resolve
from .expiry import is_expired
from .in_hand import InHand
from .job_log import JobLog
from .life import Life
from .membership import Membership
from .node import is_chunk
from .pauses import Paused
from .prefetch import AHEAD
from .run import Run
from .suspects import Solitude
from .verdict import MAX_DEATHS

__all__ = ["Intake"]


class Intake:
    """Turns the deliveries of one worker into runs.

    Args:
        sealer: the app's sealer of jobs.
        admission: of limited jobs; None: no task has a limit.
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
        paused: Paused,
        admission: Admission | None = None,
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
        self._paused = paused
        self._admission = admission
        #: Tasks that reject deliveries; referenced here, since the loop has only weak references to its tasks.
        self._rejecting: set[asyncio.Task[None]] = set()

    def take(self, deliveries: Sequence[Delivery], reliefs: int) -> None:
        """Run, park, end or set aside each of these deliveries.

        Args:
            reliefs: ``InHand.reliefs`` at the time of the claim.
        """
        rejected: list[tuple[Delivery, str]] = []
        convicted, syncs = list[Run](), list[Run]()
        in_hand, registry, sealer, name = self._in_hand, self._registry, self._sealer, self._membership.name
        claimed, prefetch, stuck = in_hand.claimed, in_hand.prefetch, in_hand.syncs.stuck(AHEAD)
        chooses, holds, put = prefetch.chooses, self._paused.is_any, in_hand.asyncs.put
        goes_back = self._life.stopping or reliefs != in_hand.reliefs or self._solitude.excludes(in_hand)
        for delivery in deliveries:
            if claimed.setdefault((delivery.lane, delivery.entry), delivery) is not delivery:
                # The job is in hand already: it was delivered a second time after the consumer group was destroyed.
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
                    task = run.task
                    if run.job.more or holds or delivery.meta.saved or stuck or task.goes_apart or task.more:
                        self._place(run, stuck, syncs)
                    else:
                        # Most jobs go straight into their row: they cost no further call.
                        (put if task.is_async else syncs.append)(run)
        if in_hand.batches.share and deliveries:
            in_hand.batches.weigh(len(deliveries))
        if rejected or convicted:
            self._reject(rejected)
            self._endings.convict(convicted)
        in_hand.start(syncs)

    def begin(self, run: Run) -> None:
        """Put a run that happens at most once into its row: the broker has marked it as begun."""
        self.go_on([run])

    def go_on(self, runs: Sequence[Run]) -> None:
        """Put runs into their rows: what they waited for outside of the rows is there."""
        syncs: list[Run] = []
        for run in runs:
            if self._life.stopping:
                self._in_hand.release(run)
            elif not self._is_held(run):
                self._enqueue(run, False, syncs)
        self._in_hand.start(syncs)

    def answered(self, runs: Sequence[Run]) -> None:
        """Take in runs of which the broker has said when they expire."""
        if self._life.stopping:
            return self.go_on(runs)
        self.go_on([run for run in runs if is_expired(run) or not self._waits_for_values(run)])

    def remembered(self, runs: Sequence[Run]) -> None:
        """Take in runs for which the broker has handed out what earlier ones have saved."""
        if self._life.stopping:
            return self.go_on(runs)
        self.go_on([run for run in runs if not self._waits_for_facts(run)])

    def _place(self, run: Run, stuck: bool, syncs: list[Run]) -> None:
        if not self._waits(run):
            self._enqueue(run, stuck, syncs)

    def _waits(self, run: Run) -> bool:
        """Whether a run waits for facts or values first; it is put into its row then."""
        if self._is_held(run):
            return True
        if run.delivery.meta.saved and not run.calls_nothing:
            self._in_hand.checkpoints.put(run)
            return True
        return self._waits_for_facts(run)

    def _waits_for_facts(self, run: Run) -> bool:
        more, expiries = run.job.more, self._in_hand.expiries
        if more is not None and more.expires and expiries.asks:
            expiries.put(run)
            return True
        return self._waits_for_values(run)

    def _is_held(self, run: Run) -> bool:
        """Whether a run may not start, since it is paused: it goes back to its queue, or is parked."""
        pause = self._paused.pause_of(run) if self._paused.is_any else None
        if pause is None:
            return False
        if pause.task:
            job, need = run.job, pause.need_in(run.job.queue)
            self._job_log.parked(job, need)
            back = Requeue(run.delivery, job.queue, run.delivery.meta, need=need, reply=job.reply)
            self._in_hand.settler.requeue(back)
        else:
            self._in_hand.release(run)
        return True

    def _waits_for_values(self, run: Run) -> bool:
        if run.flow is None or not run.flow.upstream:
            return False
        self._in_hand.upstream.put(run)
        return True

    def _enqueue(self, run: Run, stuck: bool, syncs: list[Run]) -> None:
        """Put a run into its row; sync runs are added to ``syncs``, since they are put into their row together."""
        task = run.task
        # The job may have a limit of an earlier release of the app.
        if self._admission is not None and (task.more or run.job.more) and self._admission.turns_away(run):
            return
        if stuck and not task.is_async:
            self._in_hand.prefetch.back_off()
            self._in_hand.release(run, surplus=True)
        elif task.goes_apart and self._set_apart(run, syncs):
            pass
        elif task.is_async:
            self._in_hand.asyncs.put(run)
        else:
            syncs.append(run)

    def _set_apart(self, run: Run, syncs: list[Run]) -> bool:
        """Put a run into the row of those that happen at most once, or of those that are gathered; False: into
        neither."""
        if run.calls_nothing:
            return False
        if run.task.batch is None:
            if not run.begun:
                self._in_hand.at_most_once.put(run)
            return not run.begun
        if is_chunk(run):
            return False
        if (batch := self._in_hand.batches.put(run)) is not None:
            if batch.task.is_async:
                self._in_hand.asyncs.put(batch)
            else:
                syncs.append(batch)
        return True

    def _park(self, delivery: Delivery) -> None:
        """Park a job whose task this worker does not know, or that needs a later release, until a worker can run it."""
        job = decode_job(self._sealer.open(delivery.sealed))
        need = need_of(job) or f"task:{job.task}"
        self._job_log.parked(job, need)
        self._in_hand.settler.requeue(Requeue(delivery, job.queue, delivery.meta, need=need, reply=job.reply))

    def _reject(self, rejected: list[tuple[Delivery, str]]) -> None:
        """Set aside at the broker deliveries that are no jobs of this app, with the reasons."""
        if not rejected:
            return
        for delivery, reason in rejected:
            self._job_log.rejected(delivery, reason)
        rejecting = agent(self._set_aside(rejected))
        self._rejecting.add(rejecting)
        rejecting.add_done_callback(self._rejecting.discard)

    async def _set_aside(self, rejected: list[tuple[Delivery, str]]) -> None:
        delay = BrokerDelay()
        while True:
            try:
                await self._broker.reject(self._membership.incarnation, rejected)
                break
            except BrokerError as error:
                self._membership.say_lost(error)
                await delay.wait()
        self._in_hand.forget([delivery for delivery, _ in rejected])
