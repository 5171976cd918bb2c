"""What a worker has in hand: jobs that it has claimed, waiting in a row or running, until the broker settles them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..broker import Delivery
from ..wire.serializer import Serializer
from .async_lane import AsyncLane
from .at_most_once import AtMostOnce
from .life import Life
from .parents import Parents
from .prefetch import AHEAD, Prefetch
from .run import Run
from .seats import Seats
from .settler import Settler
from .sync_lane import SyncLane
from .upstream import Upstream

__all__ = ["BACKLOG", "InHand", "Key"]

#: Lane and entry: the proof that a delivery is this worker's.
Key = tuple[str, str]

#: Outcomes that the broker does not take, above which nothing more is claimed.
BACKLOG = 10_000


class InHand:
    """The deliveries of one worker, and the rows in which their runs wait. For the worker's loop.

    It is the ``owner`` of the runs: several workers of one process share the threads of sync jobs.

    Args:
        serializer: of the app whose jobs these are.
        close: called with runs that have ended.

    Attributes:
        claimed: every delivery that the broker has not settled.
        reliefs: how often the keeper has taken what had not started. A claim that was asked for before brings
            deliveries that are no longer this worker's.
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
        *,
        serializer: Serializer,
        close: Callable[[list[Run]], None],
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
        self.serializer = serializer
        self._close = close
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
        """These are no longer this worker's."""
        claimed = self.claimed
        for delivery in deliveries:
            claimed.pop((delivery.lane, delivery.entry), None)
        if self._forgotten is not None:
            self._forgotten.update((delivery.lane, delivery.entry) for delivery in deliveries)
        self._life.stir()

    def lose(self, run: Run) -> None:
        """A run that has not begun belongs to another worker by now."""
        self.forget([run.delivery])

    @contextlib.contextmanager
    def adopting(self, claimed: Sequence[Delivery]) -> Iterator[Callable[[Delivery], bool]]:
        """In the block, the function that it gives says whether a delivery of this worker is to be taken.

        It is not if it is in hand, was claimed just now, or was forgotten while the broker was asked.
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

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on runs begin and end in this loop."""
        self.asyncs.attach(loop)
        self.syncs.attach(loop)

    def collect(self, runs: list[Run]) -> None:
        """Sync runs have ended; called by their lane, in the loop."""
        self._begun_syncs -= len(runs)
        self.prefetch.resume()
        self._close(runs)

    @property
    def sync_runs(self) -> list[Run]:
        """Sync runs that a thread is on."""
        return [run for run in list(self.syncs.current.values()) if run.owner is self]

    @property
    def suspended(self) -> list[Run]:
        """Async runs that have begun and wait for something."""
        return list(self.asyncs.running.values())

    @property
    def running(self) -> list[Run]:
        return [*self.suspended, *self.sync_runs]

    @property
    def has_begun(self) -> bool:
        """Whether anything is here that cannot go back unstarted."""
        return bool(self.asyncs.running or self._begun_syncs or self.at_most_once.asked)

    @property
    def waits(self) -> bool:
        """Whether anything waits for a thread, a seat or values."""
        return bool(self.syncs.waiting or self.asyncs.waiting or self.upstream.row)

    def abort(self) -> None:
        """Cancel the async jobs that run; they go back to their queue."""
        for task, run in list(self.asyncs.running.items()):
            run.stopped = True
            task.cancel()

    async def become_idle(self) -> None:
        """Return when nothing runs, or a stop is near; jobs that wait for others may wait for what comes next."""
        while not self._life.stopping and len(self.claimed) > sum(
            run.waits > 0 for run in self.asyncs.running.values()
        ):
            await self._life.wait(None)

    async def make_way(self) -> None:
        """Give back what has not started, and become idle."""
        self.give_back_unstarted()
        await self.become_idle()

    # ---- how much more

    def room(self) -> int:
        """How many more jobs to claim now."""
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
        if self.prefetch.chooses:
            self.prefetch.adapt(room, full_of_async)
        return room

    # ---- the way back

    def release(self, run: Run, *, surplus: bool = False) -> None:
        """The job goes back as if it had not been claimed.

        A surplus of one kind goes behind the rest: at its head it would be claimed again and again, and what
        there is room for would never come up.
        """
        self.settler.give_back(run, run.job.priority if surplus and self.prefetch.chooses else -1)

    def give_back_unstarted(self) -> None:
        """What has not started goes back without an attempt counted."""
        lanes = [*self._take_back_syncs(), *self.asyncs.take_back()]
        for run in [*lanes, *self.at_most_once.take_back(), *self.upstream.take_back()]:
            self.settler.give_back(run)

    def give_back_parents(self) -> None:
        """Runs that only wait for jobs which run elsewhere go back, although they have begun."""
        self._parents.give_back(self.asyncs.running, {run.job.id for run in self.running})

    def give_back_surplus(self) -> None:
        """What stands behind long jobs, or was claimed while jobs were shorter: a peer may be free for it."""
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
        for run in back:
            self.release(run, surplus=True)

    def take_back(self, id: str) -> bool:
        """Give back one job that was cancelled before it started, if it is here."""
        run = self.asyncs.pick(id) or self.at_most_once.pick(id) or self.upstream.pick(id)
        if run is None and (run := self.syncs.pick(self, id)) is not None:
            self._begun_syncs -= 1
        if run is None:
            return False
        self.settler.give_back(run)
        return True

    def relieve(self) -> None:
        """The loop stood still, and meanwhile the keeper gave to others what had not started here; what a claim
        that is under way brings may be among it."""
        self.reliefs += 1
        self.give_back_unstarted()
        self._life.stir()

    def _take_back_syncs(self, keep: int = 0) -> list[Run]:
        back = self.syncs.take_back(self, keep)
        self._begun_syncs -= len(back)
        return back
