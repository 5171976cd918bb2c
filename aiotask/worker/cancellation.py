"""The agent that ends cancelled jobs of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable

from ..broker import Broker, Notice
from ..errors import BrokerError
from ..loops.agent import agent
from ..wire.cancel_marks import genuine_cancels
from ..wire.seal import Sealer
from .batch import Batch
from .in_hand import InHand
from .run import Board, Run

__all__ = ["Cancels"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that a cancelled job has to end. Then its process is replaced, or it gets its outcome without having ended.
CANCEL_TIMEOUT = 1.0
#: Greatest number of noticed cancels that wait to be looked up.
MAX_NOTICED = 1_000
#: Seconds until a cancel is looked up again whose job is not in hand yet, since its claim was under way.
_SOON = 0.1
#: Seconds after its start from which a job is looked up once a second, in case the notice of a cancel was lost.
_OLD = 0.5


class Cancels:
    """Ends the cancelled jobs of one worker: at once by the notice, within a second without it.

    Only a sealed mark at the broker ends a job; a notice makes the worker look it up.

    Args:
        sealer: the app's sealer of outcomes.
        interrupt: stops a sync run, best effort. None: sync runs cannot be stopped, and this process is not replaced
            for a run that does not end.
        give_up: called, where ``interrupt`` is None, with a run that did not end in time.
        told: called when the broker tells that something was paused or resumed.
    """

    def __init__(
        self,
        broker: Broker,
        sealer: Sealer,
        board: Board,
        in_hand: InHand,
        *,
        interrupt: Callable[[Run], None] | None,
        give_up: Callable[[Run], None],
        told: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._sealer = sealer
        self._board = board
        self._in_hand = in_hand
        self._interrupt = interrupt
        self._give_up = give_up
        self._told = told
        self._incarnation = ""
        #: Called with the job of each notice: its reader may have read on.
        self.heard: Callable[[str], None] | None = None
        self._noticed: set[str] = set()
        self._wake = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    def follow(self, incarnation: str) -> None:
        """Listen for notices to this incarnation from now on."""
        self._incarnation = incarnation
        if self._listening is not None:
            self._listening.cancel()
        listening = self._broker.listen(incarnation, self._on_notices, self._on_subscribed)
        self._listening = agent(listening)

    def _on_notices(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            if notice.id:
                self._noticed.add(notice.id)
                if self.heard is not None:
                    self.heard(notice.id)
            else:
                self._told()
        if len(self._noticed) > MAX_NOTICED:
            # A flood of notices. Jobs that have run for a while are looked up anyway.
            self._noticed = set(self._in_hand.ids)
        self._wake.set()

    def _on_subscribed(self) -> None:
        # Notices from before this subscription were lost: all jobs have to be looked up.
        self._noticed.update(self._in_hand.ids)
        self._wake.set()

    async def run(self) -> None:
        """Look up the noticed cancels until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                noticed, self._noticed = self._noticed, set()
                with contextlib.suppress(BrokerError):
                    await self._end_marked(noticed)
        finally:
            if self._listening is not None:
                self._listening.cancel()
                await asyncio.gather(self._listening, return_exceptions=True)

    async def tick(self) -> None:
        """Look up the jobs that have run for a while, as the notice of a cancel may have been lost."""
        old = [run.job.id for run in self._in_hand.running if time.monotonic() - run.started_mono > _OLD]
        await self._end_marked(old)

    async def _end_marked(self, ids: Collection[str]) -> None:
        """End those of these jobs that are marked as cancelled."""
        if not ids:
            return
        asked = list(ids)
        marked = set(genuine_cancels(self._sealer, asked, await self._broker.cancels(self._incarnation, asked)))
        for run in self._in_hand.running:
            if run.job.id in marked:
                marked.discard(run.job.id)
                if not run.cancelled:
                    self.end(run)
        if missing := {id for id in marked if not self._in_hand.take_back(id)}:
            asyncio.get_running_loop().call_later(_SOON, self._try_again, missing)

    def _try_again(self, ids: set[str]) -> None:
        self._noticed |= ids
        self._wake.set()

    def end(self, run: Run) -> None:
        """End a run that goes on: its job is cancelled."""
        run.cancelled = True
        if run.batch is not None and any(not item.cancelled for item in run.batch.items):
            # The call goes on for the other items: no process is replaced for the sake of this one.
            self._board.clear(run.slot)
            self._give_up(run)
            return
        # From now on a run that does not react is overdue, and its process is replaced.
        self._board.hurry(run.slot, run.job.id)
        if run.batch is not None:
            run = run.batch
            run.cancelled = True
        if self._interrupt is None:
            asyncio.get_running_loop().call_later(CANCEL_TIMEOUT, self._check, run)
        for task, other in self._in_hand.asyncs.running.items():
            if other is run:
                task.cancel()
                return
        if self._interrupt is not None:
            self._interrupt(run)

    def _check(self, run: Run) -> None:
        """Abandon a run that did not end in time: its caller gets an outcome, and the run's own end is discarded."""
        if isinstance(run, Batch):
            run = next((item for item in run.items if not item.abandoned), run)
        if any(run is other for other in self._in_hand.running):
            logger.warning(
                "Job %s (%s) was cancelled but keeps running: it did not react, and nothing can end it inside this "
                "process. Its return value will be discarded.",
                run.job.id,
                run.task.name,
            )
            self._give_up(run)
