"""The claim loop: asks the broker for jobs as long as there is room for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from ..broker import Broker, Claim, Delivery, Liveness
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from ..values.queue_order import QueueOrder
from .admission import Admission
from .agenda import Agenda
from .in_hand import InHand
from .intake import Intake
from .life import Life
from .measures import Measures
from .membership import Membership
from .pauses import Paused
from .probe import Probe, Seen
from .stop_condition import StopCondition
from .suspects import Solitude, Suspects

__all__ = ["BLOCK", "Claimer"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that a blocking claim waits, and after which there is a quick one: only the answer to a quick claim
#: reports suspects, and that this worker was declared dead.
BLOCK = 1.0
#: Seconds after which a worker without a job looks again whether other apps of its process have left room for one.
OTHERS_BUSY = 0.05
# Reading an attribute of an enum class takes ten times as long as reading a global of the module.
_LIVE = Liveness.LIVE


class Claimer:
    """Claims for one worker until it stops.

    A claim is quick or blocking. A quick claim takes as many jobs as there is room for, by priority, and returns at
    once; it is for queues that have jobs. A blocking claim waits in the server for the first job, which it brings
    sooner than repeated quick claims would; it is for queues that are empty.

    Args:
        order: of the queues.
        needs: what this worker has of that for which jobs are parked; it claims these parked jobs too.
        restart: called when the broker does not see this worker as live; enlists it anew.
        until: when the worker ends by itself.
        admission: of limited jobs; None: no task has a limit.
        probe: looks before a claim that is to bring jobs of one kind; None: there are tasks of one kind alone, or the
            claims of the broker change no order.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        life: Life,
        solitude: Solitude,
        suspects: Suspects,
        in_hand: InHand,
        intake: Intake,
        agenda: Agenda,
        paused: Paused,
        measures: Measures,
        *,
        queues: Sequence[str],
        order: QueueOrder,
        needs: Sequence[str],
        restart: Callable[[Liveness], Awaitable[None]],
        until: StopCondition,
        admission: Admission | None = None,
        probe: Probe | None = None,
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._life = life
        self._solitude = solitude
        self._suspects = suspects
        self._in_hand = in_hand
        self._intake = intake
        self._agenda = agenda
        self._paused = paused
        self._measures = measures
        self._queues = queues
        self._needs = needs
        self._restart = restart
        self._until = until
        self._admission = admission
        self._probe = probe
        self._burst = until.burst
        #: Whether every claim is a quick one: a blocking one may bring any number of jobs, and finds no end.
        self._polls = until.is_bounded
        self._report_error = ErrorReporter(
            logger, f"The {membership.source} refused to hand out jobs; trying again: %s"
        )
        #: The queues in the order of each claim.
        self._turns = order.turns(queues)
        broker.by_queue = order.by_queue
        #: Parked lanes that exist for what this worker has.
        self._parked_lanes: Sequence[str] = ()
        #: Whether the next claim is a quick one.
        self._quick = True
        #: When the last quick claim was asked for, and the last one that was refused (monotonic).
        self._quick_at = self._refused_at = 0.0
        #: Seconds that the answer to the last quick claim took.
        self._answer = 0.0
        self._delay = BrokerDelay()
        self._is_over = False

    async def run(self) -> None:
        """Claim until the worker stops, or its stop condition is met."""
        await self._claim_all()
        self._is_over = True

    async def interrupt(self) -> None:
        """End the blocking claim that is under way, since the worker stops."""
        while not self._is_over:
            # Repeated, since a claim that is just about to block does not notice the first call.
            with contextlib.suppress(BrokerError):
                await self._broker.wake()
            await asyncio.sleep(0.02)

    async def _claim_all(self) -> None:
        life, in_hand = self._life, self._in_hand
        while not life.stopping:
            if self._solitude.excludes(in_hand):
                await self._solitude.end()
                continue
            room, rest = await self._room()
            if self._polls:
                room = self._until.reserve(room)
                if self._until.is_reached:
                    return
            if room <= 0:
                # Without a job in hand, jobs of other apps of this process take the threads or seats: their ends are no
                # changes in the life of this worker.
                await life.wait(rest or (None if in_hand.claimed else OTHERS_BUSY))
                continue
            asked, reliefs = time.monotonic(), in_hand.reliefs
            quiet = self._until.quiet if self._burst else 0
            claim = await self._claim(room, asked)
            if self._polls:
                self._until.settle(room, taken=claim is None or bool(claim.deliveries))
            if claim is None:
                continue
            if claim.liveness is not _LIVE:
                await self._restart(claim.liveness)
            elif claim.suspects:
                await self._suspects.run_alone()
                # A death usually leaves several suspects: the next one is asked for at once.
                self._quick = True
            elif claim.deliveries:
                self._intake.take(claim.deliveries, reliefs)
                self._measures.waited(claim.waits)
                # A claim that blocked found the queues empty: the next one blocks too. A claim that brought several
                # did not block, and a blocking one takes from every lane alike, whatever its priority.
                self._quick = len(claim.deliveries) > 1 or self._quick or not self._has_blocked(asked)
            elif quiet and await self._is_over_for_good(quiet):
                return
            else:
                self._quick = False
                await self._wait_idle(asked)

    async def _room(self) -> tuple[int, float]:
        """How many jobs to claim now; and, where that is none, the seconds until a claim is of use again (0: something
        has to end first)."""
        in_hand = self._in_hand
        # Read before ``room``: a pause that ended between the two would be read as 0, and the wait have no end.
        rest = in_hand.prefetch.pause
        room = in_hand.room()
        if room > 0 and self._probe is not None and not await self._may_find(self._probe):
            return 0, max(in_hand.prefetch.pause, 0.001)
        return room, rest

    async def _may_find(self, probe: Probe) -> bool:
        """Whether the next claim may bring a job that there is room for, as far as is known before it."""
        prefetch, lanes = self._in_hand.prefetch, self._parked_lanes
        if prefetch.probes is None or lanes:
            return True
        try:
            seen = await probe.look(self._paused.open(self._queues), prefetch.probes)
        except BrokerError:
            # The claim says so, and waits.
            return True
        prefetch.see(seen)
        return seen is not Seen.FULL_KIND

    async def _is_over_for_good(self, quiet: int) -> bool:
        """Whether nothing is left that may put a job into the queues, for a burst that has found them empty.

        Asked only where nothing was in hand before that claim: the end of a node makes others ready."""
        try:
            return await self._agenda.is_empty() and self._until.is_empty(self._in_hand, quiet)
        except BrokerError:
            return False

    async def _claim(self, room: int, now: float) -> Claim | None:
        """The next claim, quick or blocking. None: the claim failed, and the delay until the next attempt is over."""
        try:
            claim = await self._ask(room, now)
            if claim.paused:
                # The worker did not know.
                await self._paused.look_now()
            if self._membership.lost or claim.reconnected:
                await self._adopt(claim.deliveries)
                self._membership.say_found()
        except ConnectionLost as error:
            self._membership.say_lost(error)
        except BrokerError as error:
            self._report_error(error)
            self._refused_at = now
        else:
            if self._delay.failures:
                self._delay.reset()
            return claim
        await self._delay.wait()
        return None

    async def _ask(self, room: int, now: float) -> Claim:
        # A claim takes as much as fits from the first queue that has jobs of the best priority: each queue is the first
        # one in turn, so that a long one starves no other.
        queues, lanes, incarnation = next(self._turns), self._parked_lanes, self._membership.incarnation
        if self._paused.is_any:
            queues, lanes = self._paused.open(queues), () if self._paused.is_everything else lanes
        # Without a free seat for a limited job, a blocking claim ends as soon as there is one.
        has_seat = self._admission is None or self._admission.offer()
        if self._suspects.wait_for_others(now) and not self._polls:
            # A blocking claim skips suspects.
            claim = await self._wait(queues, lanes, 0.02)
            if not claim.deliveries:
                self._suspects.take_turn()
            return claim
        # After a refusal too: a quick claim skips a lane whose key is no stream any more, a blocking one fails.
        if self._quick or self._polls or now - self._quick_at > BLOCK or now - self._refused_at < BLOCK:
            self._quick_at = now
            claim = await self._broker.claim(incarnation, queues, lanes, room)
            self._answer = time.monotonic() - now
            return claim
        if has_seat and queues:
            return await self._broker.wait(incarnation, queues, lanes, BLOCK)
        return await self._wait(queues, lanes, BLOCK)

    async def _wait(self, queues: Sequence[str], lanes: Sequence[str], timeout: float) -> Claim:
        if not queues and not lanes:
            # All is paused.
            await self._life.wait(timeout)
            return Claim([])
        waiting = self._broker.wait(self._membership.incarnation, queues, lanes, timeout)
        return await (waiting if self._admission is None or timeout < BLOCK else self._admission.block(waiting))

    def _has_blocked(self, asked: float) -> bool:
        # While a job holds the GIL, even an immediate answer arrives late; and from a distant server no answer comes
        # sooner than the one before.
        return time.monotonic() - asked > max(0.01 if self._in_hand.syncs.busy else 0.002, 1.5 * self._answer)

    async def _wait_idle(self, asked: float) -> None:
        """Wait a moment after an empty claim, where the next claim would not block."""
        if self._polls:
            await self._life.wait(0.1)
        if asked - self._refused_at < BLOCK:
            await self._life.wait(0.1)

    async def _adopt(self, claimed: Sequence[Delivery]) -> None:
        """After a broken connection: run the jobs that the broker lists as claimed here and that are not in hand.

        The answer with them got lost, or the server lost its last second. The jobs that were claimed just now are among
        those of the broker too, and must not run twice.
        """
        reliefs = self._in_hand.reliefs
        with self._in_hand.adopting(claimed) as is_missing:
            deliveries = await self._broker.adopt(self._membership.incarnation, self._queues, self._offered())
            self._intake.take([delivery for delivery in deliveries if is_missing(delivery)], reliefs)

    def _offered(self) -> list[str]:
        """The needs whose parked lanes this worker may have claimed from."""
        return list(dict.fromkeys((*self._needs, *self._parked_lanes, *self._paused.resumed)))

    async def find_parked(self) -> None:
        """Look up the parked lanes that exist for what this worker has; called about once a second."""
        parked = [*await self._broker.parked(self._needs), *self._paused.resumed]
        if parked != self._parked_lanes:
            self._parked_lanes = parked
            if parked:
                await self._broker.wake()
