"""How much a worker claims ahead: about 50 ms of work, measured."""

from __future__ import annotations

import time

from ..broker import BATCH_JOBS
from ..loops.delay import DoublingDelay

__all__ = ["AHEAD", "Prefetch"]

#: Seconds of work that a worker claims before it can start, and after which a job behind a long one goes back.
AHEAD = 0.05
#: How much the last job counts in the average of what jobs took.
_WEIGHT = 0.1
#: Up to this many jobs are claimed ahead in two goes, and not one by one as they end: each claim takes the GIL from
#: the job that runs.
_FEW = 50
#: Jobs that a probe asks for at most: a claim that may bring jobs of the kind that is full.
_PROBE = 50
#: Seconds between two probes at most, where they bring nothing else: each job costs a claim and a way back, which is
#: taken from what runs.
_PROBE_INTERVAL = 1.0
#: Share of sync jobs from which on there are next to no others.
_MOSTLY = 0.95


class Prefetch:
    """What one worker may claim now, from what its jobs took lately.

    A claim cannot choose between sync and async jobs, so their recent shares say how many of each a
    claim is likely to bring. While one kind is full, the worker claims in small probes: they bring jobs of the other
    kind, or jobs that have to go back.

    Attributes:
        chooses: there are tasks of both kinds, so that one may stand in the way of the other.
    """

    def __init__(self, *, syncs: bool, asyncs: bool, max_in_flight: int) -> None:
        self._syncs = syncs
        self._asyncs = asyncs
        self._max_in_flight = max_in_flight
        self.chooses = syncs and asyncs
        self._sync_seconds = 0.01
        self._async_seconds = 0.01
        self._sync_share = 0.5 if self.chooses else float(syncs)
        #: After a sync job had to go back: the pause, and its end (monotonic).
        self._pause = DoublingDelay(0.02, 0.5)
        self._paused_until = 0.0
        #: Whether async jobs are full while sync ones are not (True), or the other way round (False).
        self._full_of_async: bool | None = None
        #: Jobs that the next probe asks for, and when it may (monotonic).
        self._probe = 1
        self._next_probe = 0.0
        #: Seconds until another probe after one in vain; and whether the last claim may still turn out to be one.
        self._probe_interval = DoublingDelay(AHEAD, _PROBE_INTERVAL)
        self._probing = False

    # ---- what it learns

    def measure(self, is_async: bool, took: float) -> None:
        """A job took this many seconds."""
        if is_async:
            self._async_seconds += _WEIGHT * (took - self._async_seconds)
        else:
            self._sync_seconds += _WEIGHT * (took - self._sync_seconds)

    def claimed(self, is_async: bool) -> None:
        """A claim brought a job of this kind. To be called where ``chooses`` is true."""
        self._sync_share += _WEIGHT * ((0.0 if is_async else 1.0) - self._sync_share)
        if self._full_of_async is not None:
            # The next probe is larger, to get past a long row of what there is too much of; after some of that it
            # comes later, since a peer could run it.
            self._probe = min(2 * self._probe, _PROBE)
            if is_async is not self._full_of_async:
                self._next_probe = 0.0
                if self._probe_interval.failures:
                    self._probe_interval.reset()
            else:
                interval = self._probe_interval
                self._next_probe = time.monotonic() + (interval.next() if self._probing else interval.seconds)
            self._probing = False

    def back_off(self) -> None:
        """A sync job had to go back because every thread is on a long one: do not claim it again at once."""
        self._paused_until = time.monotonic() + self._pause.next()

    def resume(self) -> None:
        """A thread is free again."""
        if self._paused_until:
            self._paused_until = 0.0
            self._pause.reset()

    def adapt(self, room: int, full_of_async: bool | None) -> None:
        """A claim follows the answer of ``room``. To be called where ``chooses`` is true."""
        self._full_of_async = full_of_async
        if full_of_async is None:
            self._probe = 1
        elif room > 0:
            self._probing = True

    # ---- what it is asked

    @property
    def pause(self) -> float:
        """Seconds until a claim makes sense again."""
        return max(0.0, max(self._paused_until, self._next_probe) - time.monotonic())

    @property
    def max_waiting(self) -> int:
        """Sync jobs that may wait for a thread; what is more than that was claimed while they were shorter."""
        return 2 * self._ahead(self._sync_seconds) + 2

    def room(
        self, *, running: int, ready: int, waiting: int, free: int, stuck: bool, full: bool
    ) -> tuple[int, bool | None]:
        """How many jobs to claim; and which kind is full while the other is not (True: async jobs).

        Args:
            running, ready: async jobs that run, and that wait for a seat.
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
            return 0 if enough else max(0, min(sync_room, BATCH_JOBS)), None
        if not self._syncs:
            return max(0, min(async_room, BATCH_JOBS)), None
        if sync_room <= 0 or async_room <= 0:
            # The kind that is not full still gets its turn, by probes.
            return 0 if self.pause else min(self._probe, max(sync_room, async_room, 0)), async_room <= 0
        if enough and self._sync_share > _MOSTLY:
            # The next job of either kind is asked for when one of these has ended, or turns out to be long.
            return 0, None
        share = min(max(self._sync_share, 0.001), 0.999)
        return max(1, min(int(sync_room / share), int(async_room / (1 - share)), BATCH_JOBS)), None

    @staticmethod
    def _ahead(seconds: float) -> int:
        return int(AHEAD / max(seconds, 0.00005))
