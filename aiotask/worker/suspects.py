"""Suspects: jobs that a process died with, run again one by one with nothing beside them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from ..broker import Broker, Delivery
from ..errors import BrokerError, ConnectionLost
from .membership import Membership

__all__ = ["Solitude", "Suspects"]

#: Seconds for which suspects are run one after the other at most, and as long as that all others then: a process that
#: dies again and again leaves more suspects than there is time for.
TURN = 1.0


class Suspects:
    """The suspects' turn in the life of one worker.

    Args:
        member: the worker, as ``solitude`` knows it.
        perform: take these deliveries, asked for at this count of reliefs, and return when nothing runs any more.
        make_way: give back what has not started, and return when nothing runs any more.
        alone: told True when a suspect begins to run with no other job beside it, False when that is over.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        solitude: Solitude,
        queues: Sequence[str],
        *,
        member: object,
        perform: Callable[[Sequence[Delivery], int], Awaitable[None]],
        make_way: Callable[[], Awaitable[None]],
        reliefs: Callable[[], int],
        alone: Callable[[bool], None] | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._solitude = solitude
        self._queues = queues
        self._member = member
        self._perform = perform
        self._make_way = make_way
        self._reliefs = reliefs
        self._alone = alone or (lambda _: None)
        self._stopping = stopping
        self._others_until = 0.0
        solitude.join(member, make_way)

    def wait_for_others(self, now: float) -> bool:
        """Whether it is the turn of all other jobs at this monotonic time."""
        return now < self._others_until

    def take_turn(self) -> None:
        """Nothing else is there: suspects need not wait for others."""
        self._others_until = 0.0

    async def run_first(self) -> None:
        """Run suspects before this worker takes anything else, where no other app shares the process."""
        if not self._solitude.is_shared:
            await self._run()

    async def run_alone(self) -> None:
        """Make this process idle, and run suspects."""
        await self._make_way()
        async with self._solitude.of(self._member):
            await self._run()

    async def _run(self) -> None:
        """One after the other, since a death leaves several as a rule; then it is the turn of all other jobs."""
        began = took = time.monotonic()
        while took - began < TURN and await self._run_one():
            took = time.monotonic()
        self._others_until = took + min(took - began, TURN)

    async def _run_one(self) -> bool:
        """Run one suspect with nothing beside it, if there is one."""
        if self._stopping():
            return False
        reliefs = self._reliefs()
        try:
            claim = await self._broker.claim(self._membership.incarnation, self._queues, (), 1, alone=True)
        except BrokerError as error:
            if isinstance(error, ConnectionLost):
                # Perhaps it was lent all the same: the next claim that gets through adopts it.
                self._membership.say_lost(error)
            return False
        if not claim.deliveries:
            return False
        with self._watched():
            await self._perform(claim.deliveries, reliefs)
        return True

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """What is known of a death in the block concerns a suspect alone."""
        self._alone(True)
        try:
            yield
        finally:
            self._alone(False)


class Solitude:
    """Several workers of one process, each for another app, share it as they share the seats.

    All methods are for their loop.
    """

    def __init__(self) -> None:
        self._members: dict[object, Callable[[], Awaitable[None]]] = {}
        self._owner: object = None
        self._free = asyncio.Event()

    def join(self, member: object, make_way: Callable[[], Awaitable[None]]) -> None:
        """``make_way`` gives back what has not started, and returns when nothing of this member runs any more."""
        self._members[member] = make_way

    @property
    def is_shared(self) -> bool:
        return len(self._members) > 1

    def excludes(self, member: object) -> bool:
        """Whether it may start nothing, because another one is alone."""
        return self._owner is not None and self._owner is not member

    async def end(self) -> None:
        """Return when nobody is alone."""
        while self._owner is not None:
            self._free.clear()
            await self._free.wait()

    @asynccontextmanager
    async def of(self, member: object) -> AsyncIterator[None]:
        """In the block nothing of the others runs, except what waits for the outcome of another job."""
        await self.end()
        self._owner = member
        try:
            for other, make_way in self._members.items():
                if other is not member:
                    await make_way()
            yield
        finally:
            self._owner = None
            self._free.set()
