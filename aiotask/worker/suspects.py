"""Suspects: jobs during which a process died. They run again with no other job beside them.

After its second death a suspect runs alone to its end. After the first one, other suspects start beside it once it has
run for a moment, twice as many each time: of a hundred long jobs that ran in a process that was killed, most are
innocent, and one after the other they would take a hundred times as long. If their process dies too, each of them has
its second death, and then runs alone. A job is given up after three deaths: no other job ran in the last of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from ..broker import Broker, Delivery
from ..errors import BrokerError, ConnectionLost
from .in_hand import InHand
from .life import Life
from .membership import Membership
from .stop_condition import StopCondition
from .verdict import MAX_DEATHS

__all__ = ["Solitude", "Suspects"]

#: Seconds for which suspects run one after the other at most; all other jobs then have as long. Processes that die
#: again and again leave more suspects than there is time for.
TURN = 1.0
#: Seconds for which suspects run before more of them start beside them. Most jobs that end their process do it soon.
PROBATION = 0.5
#: Seconds for which suspects start beside others at most, while other jobs wait.
LONGEST = 10.0
#: Reliefs that no worker has had: what is taken with them goes back.
GOES_BACK = -1


def runs_alone(suspect: Delivery) -> bool:
    """Whether a suspect runs with no other one beside it: at its next death it is given up."""
    return suspect.meta.deaths >= MAX_DEATHS - 1


class Suspects:
    """Runs the suspects that one worker claims.

    Args:
        take: ``Intake.take``.
        alone: called with True when suspects begin to run with no other job beside them, with False when that is over.
        until: when the worker ends by itself.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        solitude: Solitude,
        queues: Sequence[str],
        life: Life,
        in_hand: InHand,
        *,
        take: Callable[[Sequence[Delivery], int], None],
        alone: Callable[[bool], None] | None,
        until: StopCondition,
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._solitude = solitude
        self._queues = queues
        self._life = life
        self._in_hand = in_hand
        self._take = take
        self._alone = alone or (lambda _: None)
        self._until = until
        self._others_until = 0.0
        solitude.join(in_hand)

    def wait_for_others(self, now: float) -> bool:
        """Whether it is the turn of all other jobs at this monotonic time."""
        return now < self._others_until

    def take_turn(self) -> None:
        """End the turn of all other jobs, since there are none."""
        self._others_until = 0.0

    async def run_first(self) -> None:
        """Run suspects before this worker claims other jobs, if no other worker of this process has any in hand: the
        worker that was asked to become idle for them may be busy, or have died just now with its host."""
        # Another one may be running its own suspects first.
        await self._solitude.end()
        if self._solitude.is_idle:
            async with self._solitude.of(self._in_hand):
                await self._run()

    async def run_alone(self) -> None:
        """Make this process idle, and run suspects."""
        await self._in_hand.make_way()
        async with self._solitude.of(self._in_hand):
            await self._run()

    async def _run(self) -> None:
        """Run several suspects, as a death usually leaves several; then it is the turn of all other jobs."""
        began = took = time.monotonic()
        while took - began < TURN and await self._run_some():
            took = time.monotonic()
        self._others_until = took + min(took - began, TURN)

    async def _run_some(self) -> bool:
        """Run one suspect, and others beside it as long as none ends the process. False: there was none.

        Those that have run for ``PROBATION`` may still run afterwards, beside all other jobs.
        """
        claimed = await self._claim()
        if claimed is None or self._goes_back(claimed[0]):
            return False
        began, group = time.monotonic(), 1
        with self._watched():
            await self._start(*claimed)
            while await self._prove() and time.monotonic() - began < (TURN if self._in_hand.is_idle else LONGEST):
                group *= 2
                if not await self._add(group):
                    break
        return True

    async def _add(self, number: int) -> bool:
        """Start up to so many suspects beside those that run. False: there are none that may, or no room for them."""
        started = 0
        for _ in range(min(number, self._in_hand.room())):
            claimed = await self._claim()
            if claimed is None or self._goes_back(claimed[0]):
                break
            await self._start(*claimed)
            started += 1
        return started > 0

    def _goes_back(self, suspect: Delivery) -> bool:
        """Give back a suspect that has to run alone while others run: all other jobs would wait with it for their ends.

        Whether it went back.
        """
        if self._in_hand.is_idle or not runs_alone(suspect):
            return False
        self._take([suspect], GOES_BACK)
        return True

    async def _start(self, suspect: Delivery, reliefs: int) -> None:
        self._take([suspect], reliefs)
        if runs_alone(suspect):
            await self._in_hand.become_idle()

    async def _prove(self) -> bool:
        """Return when all suspects have run for ``PROBATION``, or have ended. False: the worker stops."""
        in_hand, life = self._in_hand, self._life
        until = time.monotonic() + PROBATION
        while not (in_hand.is_idle or life.stopping):
            now = time.monotonic()
            if in_hand.waits:
                until = now + PROBATION
            if now >= until:
                break
            # The beginning of a run is no change that ends the wait.
            await life.wait(min(until - now, PROBATION / 10))
        return not life.stopping

    async def _claim(self) -> tuple[Delivery, int] | None:
        """One suspect, and the reliefs as it was asked for; None: there is none."""
        if self._life.stopping or self._life.drained or self._until.reserve(1) < 1:
            return None
        claimed: Sequence[Delivery] = ()
        reliefs = self._in_hand.reliefs
        try:
            claim = await self._broker.claim(self._membership.incarnation, self._queues, (), 1, alone=True)
            claimed = claim.deliveries
        except BrokerError as error:
            if isinstance(error, ConnectionLost):
                # The claim may have been made all the same: the next claim that gets through adopts the job.
                self._membership.say_lost(error)
        finally:
            self._until.settle(1, taken=bool(claimed))
        return (claimed[0], reliefs) if claimed else None

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """In the block suspects run, and no other job: a death is the doing of one of them."""
        self._alone(True)
        try:
            yield
        finally:
            self._alone(False)


class Solitude:
    """Lets one worker of a process run a suspect alone: the other workers, of other apps, start no jobs meanwhile.

    The workers of one process share this object. All methods are for their loop.
    """

    def __init__(self) -> None:
        self._members: list[InHand] = []
        self._owner: InHand | None = None
        self._free = asyncio.Event()

    def join(self, member: InHand) -> None:
        """Add a worker of this process, by what it has in hand."""
        self._members.append(member)

    @property
    def is_idle(self) -> bool:
        """Whether no member has a job in hand, and none runs a suspect."""
        return self._owner is None and not any(member.claimed for member in self._members)

    def excludes(self, member: InHand) -> bool:
        """Whether a member may start no job, because another member runs a suspect alone."""
        return self._owner is not None and self._owner is not member

    async def end(self) -> None:
        """Return when no member runs a suspect alone."""
        while self._owner is not None:
            self._free.clear()
            await self._free.wait()

    @asynccontextmanager
    async def of(self, member: InHand) -> AsyncIterator[None]:
        """In the block no job of another member runs, except those that wait for the outcome of another job."""
        await self.end()
        self._owner = member
        try:
            for other in self._members:
                if other is not member:
                    await other.make_way()
            yield
        finally:
            self._owner = None
            self._free.set()
