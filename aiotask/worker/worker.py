"""A worker: claims deliveries in one event loop, and runs each to its outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ..broker import Broker, Delivery, Liveness
from ..brokers import features
from ..brokers.technology import LIMITS
from ..log.events import EventLog
from ..loops.agent import agent
from ..tasks.limits import specs_of
from ..wire.seal import Sealer
from .admission import Admission
from .aftermath import aftermath_of
from .agenda import Agenda
from .async_lane import AsyncLane
from .at_most_once import AtMostOnce
from .batches import Batches
from .cancellation import Cancels
from .checkpoints import Checkpoints
from .claimer import Claimer
from .declaring import Declaring
from .endings import Endings
from .executor import call_async
from .expiry import Expiries
from .growth import Growths
from .holds import Holds
from .in_hand import InHand
from .intake import Intake
from .job_log import JobLog
from .life import Life
from .measures import Measures, Sink
from .membership import Membership
from .parents import Parents
from .pauses import Paused
from .prefetch import Prefetch
from .probe import Probe
from .reports import Reports
from .run import Run
from .settler import Settler
from .streams import Outlets
from .surroundings import Served, Surroundings
from .suspects import Suspects
from .ticker import Ticker
from .upstream import Upstream

__all__ = ["Worker"]

logger = logging.getLogger("aiotask.worker")


class Worker:
    """One app's deliveries in one event loop.

    A worker has a registry and a broker, never an app. Async jobs run in its loop, as many as there are seats; sync
    jobs run in the threads that serve the lane. This class is wiring and life: ``InHand`` has the claimed jobs,
    ``Claimer`` claims them, ``Intake`` makes runs of them, ``Endings`` ends the runs.

    Args:
        max_jobs: call ``Hooks.full`` after this many jobs.
        sink: where what is counted of the jobs goes; None: nowhere.
    """

    def __init__(
        self,
        served: Served,
        broker: Broker,
        membership: Membership,
        around: Surroundings,
        log: EventLog,
        *,
        max_jobs: int | None = None,
        sink: Sink | None = None,
    ) -> None:
        registry, serializer, queues = served.registry, served.serializer, list(served.queues)
        syncs, board, seats, solitude, hooks = around.syncs, around.board, around.seats, around.solitude, around.hooks
        jobs_sealer, outcomes_sealer = Sealer(served.secrets, "job"), Sealer(served.secrets, "outcome")
        life, job_log, parents = Life(), JobLog(log), Parents()
        agenda, growths = Agenda(broker), Growths(broker, membership, sealer=jobs_sealer)
        settler = Settler(broker, membership, agenda.stir)
        holds, measures = Holds(broker, settler), Measures(sink, settler)
        declaring = Declaring(broker, specs_of(registry), around.declarer)
        aftermath = aftermath_of(served.middleware, membership.name, life, settler)
        prefetch = Prefetch(
            syncs=any(not task.is_async for task in registry),
            asyncs=any(task.is_async for task in registry),
            max_in_flight=seats.count,
        )
        batches = Batches(registry, seats, board)
        endings = Endings(
            life,
            settler,
            prefetch,
            parents,
            job_log,
            measures,
            worker=membership.name,
            jobs_sealer=jobs_sealer,
            outcomes_sealer=outcomes_sealer,
            serializer=serializer,
            grow=growths.put,
            hold=holds.put,
            dissolve=batches.dissolve,
            max_jobs=max_jobs,
            full=hooks.full,
            aftermath=aftermath,
        )
        call = partial(call_async, serializer=serializer, board=board, started=job_log.started)
        asyncs = AsyncLane(seats, call, endings.close, life.stir, board, syncs.peak)
        at_most_once = AtMostOnce(broker, membership, life, seats, asyncs, syncs, lost=endings.lost)
        upstream = Upstream(broker, life, seats, asyncs, syncs, sealer=outcomes_sealer, serializer=serializer)
        expiries, checkpoints = Expiries(broker), Checkpoints(broker, Sealer(served.secrets, "checkpoint"))
        in_hand = InHand(
            life,
            settler,
            prefetch,
            parents,
            seats,
            asyncs,
            syncs,
            at_most_once,
            upstream,
            batches,
            expiries,
            checkpoints,
            serializer=serializer,
            close=endings.close,
            scope=served.scope,
        )
        paused = Paused(broker, membership, life, in_hand, serializer, around.is_drained)
        admission = Admission(
            broker, registry, life, settler, seats, asyncs, syncs, sealer=jobs_sealer, serializer=serializer
        )
        intake = Intake(
            broker,
            membership,
            life,
            solitude,
            in_hand,
            endings,
            job_log,
            registry=registry,
            sealer=jobs_sealer,
            paused=paused,
            admission=admission if admission.is_needed else None,
        )
        around.until.join(in_hand, lambda: endings.runs)
        suspects = Suspects(
            broker,
            membership,
            solitude,
            queues,
            life,
            in_hand,
            take=intake.take,
            alone=hooks.alone,
            until=around.until,
        )
        claimer = Claimer(
            broker,
            membership,
            life,
            solitude,
            suspects,
            in_hand,
            intake,
            agenda,
            paused,
            measures,
            queues=queues,
            order=served.order,
            needs=registry.needs,
            restart=self._restart,
            until=around.until,
            admission=admission if admission.is_needed else None,
            probe=Probe(broker, registry) if prefetch.chooses and LIMITS in features(broker.url) else None,
        )
        cancels = Cancels(
            broker,
            outcomes_sealer,
            board,
            in_hand,
            interrupt=hooks.interrupt,
            give_up=endings.give_up,
            told=paused.tell,
        )
        reports = Reports(broker, Sealer(served.secrets, "progress"), Sealer(served.secrets, "checkpoint"))
        outlets = Outlets(
            broker, membership, sealer=Sealer(served.secrets, "item"), serializer=serializer, end=cancels.end
        )
        in_hand.reports, in_hand.outlets = reports, outlets
        log.counted, settler.disowned = measures.flush, measures.disown
        settler.before_ends, cancels.heard = reports.flush_ends, outlets.heard
        ticker = Ticker(membership, in_hand, claimer, cancels, paused, log, job_log, measures)
        self.name = membership.name
        # ``enlisted`` is set each time the broker knows the worker under a new name; the agent that waits clears it.
        self.up, self.enlisted = asyncio.Event(), asyncio.Event()
        self._life, self._membership, self._in_hand = life, membership, in_hand
        self._suspects, self._claimer, self._settler, self._cancels = suspects, claimer, settler, cancels
        self._growths, self._paused, self._reports, self._declaring = growths, paused, reports, declaring
        growths.attach(endings.close, endings.wait, settler.log_dropped, in_hand.forget)
        self._log, self._hooks, self._aftermath, self._holds = log, hooks, aftermath, holds
        self._agents: list[Callable[[], Coroutine[Any, Any, None]]] = [
            partial(settler.run, self._settled, endings.replacement),
            partial(at_most_once.run, intake.begin, in_hand.lose),
            partial(upstream.run, intake.go_on, endings.end),
            partial(expiries.run, intake.answered),
            partial(checkpoints.run, intake.remembered),
            paused.run,
            agenda.run,
            reports.run,
            declaring.run,
            cancels.run,
            ticker.run,
        ]
        self._interrupting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until stopped, then give back the jobs that have not started, finish those that run, and return."""
        self._in_hand.attach(asyncio.get_running_loop())
        self._reports.attach(asyncio.get_running_loop())
        agents = [agent(each()) for each in (self._serve, *self._agents)]
        try:
            # Only ``_serve`` ends by itself. Without one of the other agents the worker would be live and useless.
            done, _ = await asyncio.wait(agents, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            if self._interrupting is not None:
                agents.append(self._interrupting)
            for each in agents:
                each.cancel()
            await asyncio.gather(*agents, return_exceptions=True)
            self._log.flush()

    async def _serve(self) -> None:
        await self._enlist()
        await self._paused.look_first()
        self.up.set()
        await self._suspects.run_first()
        await self._claimer.run()
        await self._drain()

    async def _enlist(self) -> None:
        await self._membership.enlist(lambda: self._life.stopping)
        if self.incarnation:
            self._cancels.follow(self.incarnation)
            self._declaring.hurry()
            self.enlisted.set()

    def stop(self) -> None:
        """Claim no more jobs; ``run`` returns when those that run have ended."""
        if not self._life.stopping:
            self._life.stop()
            # At once, not after the claim that is under way: until then jobs would start.
            self._in_hand.give_back_unstarted()
            self._interrupting = agent(self._claimer.interrupt())

    async def _drain(self) -> None:
        in_hand = self._in_hand
        in_hand.give_back_unstarted()
        while in_hand.has_begun:
            in_hand.give_back_parents()
            # A job may begin to wait for other jobs without a change that ends this wait.
            await self._life.wait(0.1)
            in_hand.give_back_unstarted()
        await self._growths.settle_all()
        await self._holds.settle_all()
        await self._settler.settle_all()
        if self._aftermath is not None:
            await self._aftermath.settle_all()

    # ---- the worker's liveness

    async def _restart(self, liveness: Liveness) -> None:
        """Go on under another name, since the broker does not see this worker as live."""
        if liveness is Liveness.DEAD:
            logger.error("This worker (%s) was declared dead, and its jobs were requeued.", self.incarnation)
            self._die()
            self.abort()
            self._in_hand.claimed.clear()
        else:
            logger.warning("The broker has no record of its workers (was it emptied?); registering again.")
        await self._enlist()

    def _settled(self, deliveries: list[Delivery], liveness: Liveness) -> None:
        self._in_hand.forget(deliveries)
        if liveness is Liveness.DEAD:
            self._die()

    def _die(self) -> None:
        if self._hooks.dead is not None:
            self._hooks.dead()

    # ---- for the process around it

    @property
    def incarnation(self) -> str:
        """The name under which the broker knows this worker."""
        return self._membership.incarnation

    @property
    def suspended(self) -> list[Run]:
        """Async runs that have begun and wait for something."""
        return self._in_hand.suspended

    def owns(self, run: Run) -> bool:
        """Whether this worker has claimed the job of a run."""
        return run.owner is self._in_hand

    def steered(self) -> None:
        """Look whether the host takes jobs: that has changed."""
        self._paused.tell()

    def abort(self) -> None:
        """Cancel the async jobs that run; they go back to their queues."""
        self._in_hand.abort()

    def relieved(self) -> None:
        """Give back all jobs that have not started, after the loop stood still and the keeper requeued them."""
        self._in_hand.relieve()
