"""What a worker has in hand: the jobs that it has claimed and the broker has not settled, waiting or running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..broker import Delivery
from ..wire.serializer import Serializer
from .async_lane import AsyncLane
from .at_most_once import AtMostOnce
from .batch import Batch, runs_of
from .batches import Batches
from .checkpoints import Checkpoints
from .expiry import Expiries
from .life import Life
from .parents import Parents
from .prefetch import AHEAD, Prefetch
from .reports import Reports
from .run import Run
from .scope import Scope
from .seats import Seats
from .settler import Settler
from .streams import Outlets
from .sync_lane import SyncLane
from .upstream import Upstream

__all__ = ["BACKLOG", "InHand", "Key"]

#: Lane and entry: the proof that a delivery is this worker's.
Key = tuple[str, str]

#: Number of outcomes waiting for the broker from which on the worker claims no more jobs.
BACKLOG = 10_000


class InHand:
    """The deliveries of one worker, and the rows in which their runs wait. For the worker's loop.

    This object is the ``owner`` of the runs: several workers of one process share the threads of sync jobs.

    Args:
        serializer: the serializer of the app whose jobs these are.
        close: called with runs that have ended.
        scope: what the jobs share.

    Attributes:
        claimed: every delivery that the broker has not settled.
        reliefs: how often the keeper has requeued the jobs that had not started here. A claim that was sent before
            such a relief brings deliveries that are no longer this worker's.
        filled: set when runs have been put into the rows.
    """

    def __init__(
        self,
        life: Life,
        settler: Settler,
        prefetch: Prefetch,
        parents: Parents,
        seats: Seats,
        asyncs: AsyncLane,
        syncs: SyncLane,
        at_most_once: AtMostOnce,
        upstream: Upstream,
        batches: Batches,
        expiries: Expiries,
        checkpoints: Checkpoints,
        *,
        serializer: Serializer,
        close: Callable[[list[Run]], None],
        scope: Scope | None = None,
    ) -> None:
        self._life = life
        self.settler = settler
        self.prefetch = prefetch
        self._parents = parents
        self._seats = seats
        self.asyncs = asyncs
        self.syncs = syncs
        self.at_most_once = at_most_once
        self.upstream = upstream
        self.batches = batches
        batches.attach(self._begin_batch)
        self.expiries = expiries
        self.checkpoints = checkpoints
        self.serializer = serializer
        self.scope = scope or Scope()
        self._close = close
        #: Where generators emit their items, and runs report how far they are.
        self.outlets: Outlets | None = None
        self.reports: Reports | None = None
        self.claimed: dict[Key, Delivery] = {}
        self.reliefs = 0
        self.filled = asyncio.Event()
        self._forgotten: set[Key] | None = None
        #: Sync runs that were put into the row and have not been collected.
        self._begun_syncs = 0

    # ---- the account

    @property
    def ids(self) -> Iterable[str]:
        """Ids of all jobs in hand."""
        return [delivery.id for delivery in self.claimed.values()]

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """Remove deliveries that are no longer this worker's."""
        claimed = self.claimed
        for each in deliveries:
            claimed.pop((each.lane, each.entry), None)
        if self._forgotten is not None:
            self._forgotten.update([(each.lane, each.entry) for each in deliveries])
        self._life.stir()

    def lose(self, run: Run) -> None:
        """Remove the delivery of a run that has not begun and belongs to another worker by now."""
        self.forget([run.delivery])

    @contextlib.contextmanager
    def adopting(self, claimed: Sequence[Delivery]) -> Iterator[Callable[[Delivery], bool]]:
        """Yield a function that says whether a delivery, which the broker lists for this worker, is missing here.

        A delivery is not missing if it is in hand, is among ``claimed``, or was forgotten within the block.
        """
        forgotten = self._forgotten = {(delivery.lane, delivery.entry) for delivery in claimed}

        def is_missing(delivery: Delivery) -> bool:
            key = (delivery.lane, delivery.entry)
            return key not in self.claimed and key not in forgotten

        try:
            yield is_missing
        finally:
            self._forgotten = None

    # ---- runs

    def start(self, syncs: list[Run]) -> None:
        """Begin the async runs that are in their row, and these sync runs."""
        self.filled.set()
        if syncs:
            self._begun_syncs += len(syncs)
            self.syncs.put(syncs)
        self.asyncs.start()

    def _begin_batch(self, batch: Batch) -> None:
        if batch.task.is_async:
            self.asyncs.put(batch)
        self.start([] if batch.task.is_async else [batch])
        self._life.stir()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin and end runs in this loop from now on."""
        self.scope.loop = loop
        self.asyncs.attach(loop)
        self.syncs.attach(loop)

    def collect(self, runs: list[Run]) -> None:
        """Close sync runs that have ended; called by their lane, in the loop."""
        self._begun_syncs -= len(runs)
        self.prefetch.resume()
        self._close(runs)

    @property
    def sync_runs(self) -> list[Run]:
        """Sync runs that a thread executes now."""
        return runs_of([run for run in list(self.syncs.current.values()) if run.owner is self])

    @property
    def suspended(self) -> list[Run]:
        """Async runs that have begun and wait for something."""
        return list(self.asyncs.running.values())

    @property
    def running(self) -> list[Run]:
        return [*runs_of(self.suspended), *self.sync_runs]

    @property
    def has_begun(self) -> bool:
        """Whether a run is here that cannot go back unstarted."""
        return bool(self.asyncs.running or self._begun_syncs or self.at_most_once.asked)

    @property
    def waits(self) -> bool:
        """Whether a run waits for a thread, a seat or values."""
        return bool(self.syncs.waiting or self.asyncs.waiting or self.upstream.row)

    def abort(self) -> None:
        """Cancel the async jobs that run; they go back to their queues."""
        for task, run in list(self.asyncs.running.items()):
            run.stopped = True
            task.cancel()

    async def become_idle(self) -> None:
        """Return when no job runs, except those that wait for the outcomes of others, or when the worker stops."""
        while not (self._life.stopping or self.is_idle):
            await self._life.wait(None)

    @property
    def is_idle(self) -> bool:
        """Whether no job is here, except those that wait for the outcomes of others."""
        return len(self.claimed) <= self._waiting_for_others

    @property
    def _waiting_for_others(self) -> int:
        """How many jobs wait for the outcomes of others."""
        runs = [run for run in self.asyncs.running.values() if run.waits > 0]
        return sum(run.in_hand if isinstance(run, Batch) else 1 for run in runs)

    async def make_way(self) -> None:
        """Give back the jobs that have not started, and become idle."""
        self.give_back_unstarted()
        await self.become_idle()

    # ---- how much more

    def room(self) -> int:
        """How many more jobs the worker may claim now."""
        if self.settler.backlog >= BACKLOG:
            return 0
        syncs, asyncs, waiting = self.syncs, self.asyncs, self.at_most_once.waiting
        ready, unstarted = asyncs.waiting + waiting(is_async=True), syncs.waiting + waiting(is_async=False)
        if self.upstream.row:
            ready += self.upstream.asyncs_waiting
            unstarted += len(self.upstream.row) - self.upstream.asyncs_waiting
        room, full_of_async = self.prefetch.room(
            running=self._seats.taken,
            ready=ready,
            waiting=unstarted,
            free=syncs.threads - syncs.busy,
            stuck=syncs.stuck(AHEAD),
            full=asyncs.stuck(AHEAD),
        )
        if self.batches.share:
            room = self._room_with_batches(room, ready, unstarted)
        if self.prefetch.chooses:
            self.prefetch.adapt(room, full_of_async)
        return room

    def _room_with_batches(self, room: int, ready: int, waiting: int) -> int:
        """The room where some of the jobs go into batches, by the room for jobs that do not."""
        syncs, batches = self.syncs, self.batches
        stuck = syncs.stuck(AHEAD)
        if not batches.gathers:
            return batches.room(room, room, stuck=stuck)
        calls, _ = self.prefetch.room(
            running=self._seats.taken,
            ready=ready + batches.calls(is_async=True),
            waiting=waiting + batches.calls(is_async=False),
            free=syncs.threads - syncs.busy,
            stuck=stuck,
            full=self.asyncs.stuck(AHEAD),
        )
        return batches.room(room, calls, stuck=stuck)

    # ---- the way back

    def release(self, run: Run, *, surplus: bool = False) -> None:
        """Give a job back as if it had not been claimed.

        Args:
            surplus: there are too many jobs of this kind, so this one goes behind those of its priority: before them it
                would be claimed again and again, and no job of the other kind would be. Where all of these are known
                to be of its own kind, it keeps its turn.
        """
        self.settler.give_back(run, run.job.priority if surplus and self.prefetch.rotates else -1)

    def give_back_unstarted(self) -> None:
        """Give back all jobs that have not started, without counting an attempt."""
        lanes = self._unstarted([*self._take_back_syncs(), *self.asyncs.take_back()])
        rows = [*self.at_most_once.take_back(), *self.upstream.take_back(), *self.expiries.take_back()]
        for run in [*lanes, *rows, *self.checkpoints.take_back(), *self.batches.take_back()]:
            self.settler.give_back(run)

    def _unstarted(self, runs: list[Run]) -> Iterator[Run]:
        """These runs, which go back, with the items in place of each batch."""
        for run in runs:
            if isinstance(run, Batch):
                yield from self.batches.dissolve(run)
            else:
                yield run

    def give_back_parents(self) -> None:
        """Give back runs that have begun and only wait for jobs that run elsewhere."""
        self._parents.give_back(self.asyncs.running, {run.job.id for run in self.running})

    def give_back_surplus(self) -> None:
        """Give back jobs that wait behind long ones or are too many by now, since a peer may be free for them."""
        back: list[Run] = []
        stuck = self.syncs.stuck(AHEAD)
        keep = 0 if stuck else self.prefetch.max_waiting
        if self.syncs.waiting > keep:
            back = self._take_back_syncs(keep)
            if back and stuck:
                self.prefetch.back_off()
        if stuck:
            back += self.at_most_once.take_back(sync_only=True)
        if self.asyncs.stuck(AHEAD):
            back += self.asyncs.take_back()
        if self.upstream.row:
            back += self.upstream.take_back(syncs=stuck, asyncs=self.asyncs.stuck(AHEAD))
        for run in self._unstarted(back):
            self.release(run, surplus=True)

    def take_back(self, id: str) -> bool:
        """Give back a job that was cancelled before it started. False: the job is not here."""
        run = self.asyncs.pick(id) or self.at_most_once.pick(id) or self.upstream.pick(id)
        run = run or self.expiries.pick(id) or self.checkpoints.pick(id) or self.batches.pick(id)
        if run is None and (run := self.syncs.pick(self, id)) is not None:
            self._begun_syncs -= 1
        if run is None:
            return False
        self.settler.give_back(run)
        return True

    def relieve(self) -> None:
        """Give back all jobs that have not started, after the loop stood still and the keeper requeued them.

        The deliveries of a claim that is under way may be among those that the keeper requeued."""
        self.reliefs += 1
        self.give_back_unstarted()
        self._life.stir()

    def _take_back_syncs(self, keep: int = 0) -> list[Run]:
        back = self.syncs.take_back(self, keep)
        self._begun_syncs -= len(back)
        return back
