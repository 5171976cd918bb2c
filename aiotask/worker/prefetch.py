"""How much a worker claims ahead: about 50 ms of work, measured."""

from __future__ import annotations

import time

from ..broker import BATCH_JOBS

__all__ = ["AHEAD", "Appetite"]

#: Seconds of work that a worker holds unstarted, and after which a job behind a long one goes back.
AHEAD = 0.05
_WEIGHT = 0.1
#: Up to so many jobs are claimed ahead in two goes, and not one by one as they end: each claim takes the GIL from
#: the job that runs.
_FEW = 50
#: Jobs that a claim asks for at most while it may bring those that nothing is free for.
_BITE = 50
#: Seconds between two such claims at most, where they bring nothing else: each job costs a claim and a way back,
#: which is taken from what runs.
_REST = 1.0
#: Share of sync jobs from which on there are next to no others.
_MOSTLY = 0.95


class Appetite:
    """What one worker may claim now, from what its jobs took lately.

    A claim cannot choose between sync and async jobs, so their recent shares say how many of each a
    claim is likely to bring.
    """

    def __init__(self, *, syncs: bool, asyncs: bool, max_in_flight: int) -> None:
        self._syncs = syncs
        self._asyncs = asyncs
        self._max_in_flight = max_in_flight
        self._sync_seconds = 0.01
        self._async_seconds = 0.01
        self._sync_share = 0.5 if syncs and asyncs else float(syncs)
        self._pause = 0.0
        self._paused_until = 0.0
        #: Which kind is full while the other one is not; how much is claimed then, and when again.
        self._full_of_async: bool | None = None
        self._bite = 1
        self._next_bite = 0.0
        #: How long it waits after one in vain; and whether the last one may still have been one.
        self._rest = AHEAD
        self._bitten = False

    def ate(self, is_async: bool, took: float) -> None:
        """A job took this many seconds."""
        if is_async:
            self._async_seconds += _WEIGHT * (took - self._async_seconds)
        else:
            self._sync_seconds += _WEIGHT * (took - self._sync_seconds)

    def served(self, is_async: bool) -> None:
        """A claim brought one of this kind."""
        if self._syncs and self._asyncs:
            self._sync_share += _WEIGHT * ((0.0 if is_async else 1.0) - self._sync_share)
            if self._full_of_async is not None:
                # Larger each time, to get past a long row of what there is too much of; and after some of that
                # not at once, since a peer could run it.
                self._bite = min(2 * self._bite, _BITE)
                if is_async is not self._full_of_async:
                    self._rest, self._next_bite = AHEAD, 0.0
                else:
                    self._next_bite = time.monotonic() + self._rest
                    if self._bitten:
                        self._rest = min(2 * self._rest, _REST)
                self._bitten = False

    def choke(self) -> None:
        """A sync job had to go back because every thread is on a long one: do not claim it again at once."""
        self._pause = min(max(self._pause * 2, 0.02), 0.5)
        self._paused_until = time.monotonic() + self._pause

    def swallow(self) -> None:
        """A thread is free again."""
        self._pause = self._paused_until = 0.0

    @property
    def chooses(self) -> bool:
        """Whether there are jobs of both kinds, so that one may stand in the way of the other."""
        return self._syncs and self._asyncs

    @property
    def pause(self) -> float:
        """Seconds until a claim makes sense again."""
        return max(0.0, max(self._paused_until, self._next_bite) - time.monotonic())

    @property
    def keeps(self) -> int:
        """Sync jobs that may wait for a thread; what is more than that was claimed while they were shorter."""
        return 2 * self._ahead(self._sync_seconds) + 2

    def room(self, *, running: int, ready: int, waiting: int, free: int, stuck: bool, full: bool) -> int:
        """How many jobs to claim.

        Args:
            running, ready: async jobs that run, and that wait for a slot.
            waiting: sync jobs that wait for a thread.
            free: idle threads.
            stuck, full: every thread, and every seat of an async job, has been taken for a while.
        """
        ahead = self._ahead(self._sync_seconds)
        sync_room = 0 if stuck else ahead + free - waiting
        enough = not free and waiting > 0 and ahead <= min(_FEW, 2 * waiting)
        async_room = self._max_in_flight - running - ready
        if self._async_seconds < 0.001 and not full:
            async_room += self._ahead(self._async_seconds)
        if not self._asyncs:
            return 0 if enough else max(0, min(sync_room, BATCH_JOBS))
        if not self._syncs:
            return max(0, min(async_room, BATCH_JOBS))
        self._full_of_async = None
        if sync_room > 0 and async_room > 0:
            self._bite = 1
        if sync_room <= 0 or async_room <= 0:
            # One kind is full; the other still gets its turn, in small bites.
            self._full_of_async = async_room <= 0
            if self.pause:
                return 0
            self._bitten = True
            return min(self._bite, max(sync_room, async_room, 0))
        if enough and self._sync_share > _MOSTLY:
            # The next job of either kind is asked for when one of these has ended, or turns out to be long.
            return 0
        share = min(max(self._sync_share, 0.001), 0.999)
        return max(1, min(int(sync_room / share), int(async_room / (1 - share)), BATCH_JOBS))

    @staticmethod
    def _ahead(seconds: float) -> int:
        return int(AHEAD / max(seconds, 0.00005))
