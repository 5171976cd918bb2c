"""The claim loop: asks the broker for jobs as long as there is room for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ..broker import Broker, Claim, Delivery, Standing
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import Complaint
from .agenda import Agenda
from .in_hand import InHand
from .intake import Intake
from .life import Life
from .membership import Membership, pause
from .suspects import Solitude, Suspects

__all__ = ["BLOCK", "Claimer"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that a blocking claim waits, and after which there is one that does not block: only that one is told of
#: suspects, and that this worker is dead.
BLOCK = 1.0
# An attribute of an enum class costs ten of a module.
_LIVE = Standing.LIVE


class Claimer:
    """Claims for one worker until it stops.

    A claim is quick or it blocks. A quick one takes as much as there is room for, by priority, and comes back at once;
    it is for queues that have jobs. A blocking one waits in the server for the first job, and is there sooner
    than one of many quick ones; it is for queues that are empty.

    Args:
        needs: what jobs may ask for that this worker has; it claims the parked ones too.
        restart: called where the broker does not see this worker as live; enlists it anew.
        burst: end as soon as the queues are empty and nothing runs.
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
        *,
        queues: Sequence[str],
        needs: Sequence[str],
        restart: Callable[[Standing], Awaitable[None]],
        burst: bool,
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._life = life
        self._solitude = solitude
        self._suspects = suspects
        self._in_hand = in_hand
        self._intake = intake
        self._agenda = agenda
        self._queues = queues
        self._needs = needs
        self._restart = restart
        self._burst = burst
        self._complain = Complaint(logger, "The broker refused to hand out jobs; trying again: %s")
        #: The queues in the order of the next claim.
        self._turns = deque(queues)
        #: Parked lanes that exist for what this worker has.
        self._parked_lanes: Sequence[str] = ()
        #: The next claim is a quick one.
        self._quick = True
        #: When the last quick claim was asked for, and the last one that was refused (monotonic).
        self._quick_at = self._refused_at = 0.0
        #: Seconds that the answer to the last quick claim took.
        self._answer = 0.0
        #: Seconds until another attempt after a failure.
        self._delay = 0.05
        self._is_over = False

    async def run(self) -> None:
        """Until the worker stops; a burst ends with its queues empty and nothing in hand."""
        await self._claim_all()
        self._is_over = True

    async def interrupt(self) -> None:
        """End the claim that blocks, since the worker stops."""
        while not self._is_over:
            # Again and again: one that is just about to block does not notice the first call.
            with contextlib.suppress(BrokerError):
                await self._broker.wake()
            await asyncio.sleep(0.02)

    async def _claim_all(self) -> None:
        life, in_hand = self._life, self._in_hand
        while not life.stopping:
            if self._solitude.excludes(in_hand):
                await self._solitude.end()
                continue
            # Asked first: a pause that is over a moment after there was no room would be a wait without end.
            rest = in_hand.prefetch.pause
            room = in_hand.room()
            if room <= 0:
                await life.wait(rest or None)
                continue
            asked, reliefs = time.monotonic(), in_hand.reliefs
            was_idle = self._burst and not in_hand.claimed
            claim = await self._claim(room, asked)
            if claim is None:
                continue
            if claim.standing is not _LIVE:
                await self._restart(claim.standing)
            elif claim.suspects:
                await self._suspects.run_alone()
                # A death leaves several of them as a rule: the next one is asked for at once.
                self._quick = True
            elif claim.deliveries:
                self._intake.take(claim.deliveries, reliefs)
                # A claim that blocked found the queues empty: the next one blocks too. A claim that brought several
                # did not block, and a blocking one takes from every lane alike, whatever its priority.
                self._quick = len(claim.deliveries) > 1 or self._quick or not self._has_blocked(asked)
            elif was_idle and not in_hand.claimed and await self._is_over_for_good():
                return
            else:
                self._quick = False
                await self._wait_idle(asked)

    async def _is_over_for_good(self) -> bool:
        """Whether nothing is left that may put a job into the queues, for a burst that has found them empty.

        Asked only where nothing was in hand before that claim: the end of a node makes others ready."""
        try:
            return await self._agenda.is_empty()
        except BrokerError:
            return False

    async def _claim(self, room: int, now: float) -> Claim | None:
        """What the queues hold; where they are empty, what comes first. None: that failed, and was waited for."""
        try:
            claim = await self._ask(room, now)
            if self._membership.lost or claim.reconnected:
                await self._adopt(claim.deliveries)
                self._membership.say_found()
        except ConnectionLost as error:
            self._membership.say_lost(error)
        except BrokerError as error:
            self._complain(error)
            self._refused_at = now
        else:
            self._delay = 0.05
            return claim
        self._delay = await pause(self._delay)
        return None

    async def _ask(self, room: int, now: float) -> Claim:
        # A claim takes as much as fits from the first queue that has jobs of the best priority: each queue is the first
        # one in turn, so that a long one starves no other.
        self._turns.rotate(-1)
        queues, incarnation = list(self._turns), self._membership.incarnation
        if self._suspects.wait_for_others(now) and not self._burst:
            # A blocking claim passes by suspects.
            claim = await self._broker.wait(incarnation, queues, self._parked_lanes, 0.02)
            if not claim.deliveries:
                self._suspects.take_turn()
            return claim
        # After a refusal too: a quick claim passes by a lane that is none any more, and a blocking one does not.
        if self._quick or self._burst or now - self._quick_at > BLOCK or now - self._refused_at < BLOCK:
            self._quick_at = now
            claim = await self._broker.claim(incarnation, queues, self._parked_lanes, room)
            self._answer = time.monotonic() - now
            return claim
        return await self._broker.wait(incarnation, queues, self._parked_lanes, BLOCK)

    def _has_blocked(self, asked: float) -> bool:
        # Beside a job that holds the GIL, even an answer that was there at once arrives late; and from a server far
        # away none comes sooner than the one before.
        return time.monotonic() - asked > max(0.01 if self._in_hand.syncs.busy else 0.002, 1.5 * self._answer)

    async def _wait_idle(self, asked: float) -> None:
        """A claim has brought nothing; the next one, where it would not block, comes a moment later."""
        if self._burst:
            await self._life.wait(0.1)
        if asked - self._refused_at < BLOCK:
            await self._life.wait(0.1)

    async def _adopt(self, claimed: Sequence[Delivery]) -> None:
        """After a broken connection: run what the broker lent this worker in an answer that got lost, and what a server
        that has lost its last second takes for lent.

        The answer of the broker contains what was claimed just now too, and that is to run once.
        """
        reliefs = self._in_hand.reliefs
        with self._in_hand.adopting(claimed) as is_missing:
            deliveries = await self._broker.adopt(self._membership.incarnation, self._queues, self._needs)
            self._intake.take([delivery for delivery in deliveries if is_missing(delivery)], reliefs)

    async def find_parked(self) -> None:
        """Look up the parked lanes that exist for what this worker has; called about once a second."""
        parked = await self._broker.parked(self._needs)
        if parked != self._parked_lanes:
            self._parked_lanes = parked
            if parked:
                await self._broker.wake()
