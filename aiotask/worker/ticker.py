"""The agent that gives back jobs that wait too long, and looks up cancels and parked jobs."""

from __future__ import annotations

import asyncio

from ..errors import BrokerError, ConnectionLost
from ..log.events import EventLog
from ..log.throttle import Throttle
from .cancellation import Cancels
from .claimer import Claimer
from .in_hand import InHand
from .job_log import JobLog
from .measures import Measures
from .membership import Membership
from .pauses import Paused
from .prefetch import AHEAD

__all__ = ["Ticker"]

#: Seconds between two ticks while nothing waits for a thread or a seat.
IDLE = 0.5


class Ticker:
    """Does the periodic work of one worker."""

    def __init__(
        self,
        membership: Membership,
        in_hand: InHand,
        claimer: Claimer,
        cancels: Cancels,
        paused: Paused,
        log: EventLog,
        job_log: JobLog,
        measures: Measures,
    ) -> None:
        self._membership = membership
        self._in_hand = in_hand
        self._cancels = cancels
        self._claimer = claimer
        self._paused = paused
        self._log = log
        self._job_log = job_log
        self._measures = measures
        self._questions = Throttle(0.95)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._tick()
            if self._in_hand.waits or await self._is_filled():
                await asyncio.sleep(max(AHEAD / 2, self._in_hand.syncs.until_stuck(AHEAD)))

    async def _tick(self) -> None:
        self._in_hand.asyncs.start()
        for run in self._in_hand.sync_runs:
            # Sync jobs start in other threads: the start of one that still runs at a tick is logged here.
            if not run.start_logged and run.started_at:
                self._job_log.started(run)
        self._in_hand.give_back_surplus()
        self._measures.hand_on()
        if self._questions.passes():
            self._log.tick()
            await self._ask()

    async def _is_filled(self) -> bool:
        """Whether runs have been put into the rows, which are empty, before the next tick is due."""
        filled = self._in_hand.filled
        filled.clear()
        try:
            async with asyncio.timeout(IDLE):
                await filled.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self) -> None:
        """Ask the broker for cancels, for what is paused and for parked jobs."""
        if not self._membership.incarnation:
            return
        try:
            await self._cancels.tick()
            await self._paused.look()
            await self._claimer.find_parked()
        except ConnectionLost as error:
            self._membership.say_lost(error)
        except BrokerError:
            pass
