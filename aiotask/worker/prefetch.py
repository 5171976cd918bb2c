"""How much a worker claims ahead: about 50 ms of work, measured."""

from __future__ import annotations

import time

from ..broker import BATCH_JOBS
from ..loops.delay import DoublingDelay
from .probe import Seen

__all__ = ["AHEAD", "Prefetch"]

#: Seconds of work that a worker claims before it can start, and after which a job behind a long one goes back.
AHEAD = 0.05
#: Weight of the last job in the moving averages.
_WEIGHT = 0.1
#: Where at most this many jobs are claimed ahead, a claim waits until half of them have ended: each claim takes the GIL
#: from the job that runs.
_FEW = 50
#: Jobs that a probe (a claim that may bring jobs of the kind that is full) asks for at most.
_PROBE = 50
#: Greatest number of seconds between two probes that bring only jobs of the full kind: each such job costs a claim and
#: a requeue, at the expense of the jobs that run.
_PROBE_INTERVAL = 1.0
#: Share of sync jobs above which there are next to no async jobs.
_MOSTLY = 0.95


class Prefetch:
    """Says how many jobs one worker may claim now, by the recent durations of its jobs.

    A claim cannot choose between sync and async jobs, so their recent shares say how many of each a
    claim is likely to bring. While one kind is full, the worker claims in small probes: they bring jobs of the other
    kind, or jobs that have to go back.

    Attributes:
        chooses: whether there are tasks of both kinds, so that jobs of one kind may keep back those of the other.
        rotates: whether jobs that there is no seat for go back behind the others, since jobs of the other kind may be
            among these. Where it is known that none is, they go back in front.
    """

    def __init__(self, *, syncs: bool, asyncs: bool, max_in_flight: int) -> None:
        self._syncs = syncs
        self._asyncs = asyncs
        self._max_in_flight = max_in_flight
        self.chooses = self.rotates = syncs and asyncs
        self._sync_seconds = 0.01
        self._async_seconds = 0.01
        self._sync_share = 0.5 if self.chooses else float(syncs)
        #: The pause after a sync job had to go back, and its end (monotonic).
        self._pause = DoublingDelay(0.02, 0.5)
        self._paused_until = 0.0
        #: Whether async jobs are full while sync ones are not (True), or the other way round (False).
        self._full_of_async: bool | None = None
        #: Jobs that the next probe asks for, and the earliest time of that probe (monotonic).
        self._probe = 1
        self._next_probe = 0.0
        #: Seconds until the next probe after one that brought only jobs of the full kind.
        self._probe_interval = DoublingDelay(AHEAD, _PROBE_INTERVAL)
        #: Whether the last claim was a probe of which no job has been counted yet.
        self._probing = False

    # ---- measurements

    def measure(self, is_async: bool, took: float) -> None:
        """Count a job that took ``took`` seconds."""
        if is_async:
            self._async_seconds += _WEIGHT * (took - self._async_seconds)
        else:
            self._sync_seconds += _WEIGHT * (took - self._sync_seconds)

    def claimed(self, is_async: bool) -> None:
        """Count a job of this kind that a claim brought. To be called where ``chooses`` is true."""
        self._sync_share += _WEIGHT * ((0.0 if is_async else 1.0) - self._sync_share)
        if self._full_of_async is not None:
            # The next probe is larger, to get past many jobs of the full kind; and where it brings only those, the one
            # after it comes later, since a peer could run them.
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
        """Pause after a sync job had to go back, since all threads have long jobs: it would be claimed again now."""
        self._paused_until = time.monotonic() + self._pause.next()

    def resume(self) -> None:
        """End the pause, since a thread is free again."""
        if self._paused_until:
            self._paused_until = 0.0
            self._pause.reset()

    def adapt(self, room: int, full_of_async: bool | None) -> None:
        """Note the answer of ``room`` that the next claim follows. To be called where ``chooses`` is true."""
        self._full_of_async = full_of_async
        if full_of_async is None:
            self._probe = 1
        elif room > 0:
            self._probing = True

    def see(self, seen: Seen) -> None:
        """Count a look before a probe."""
        self.rotates = seen in (Seen.OTHER_KIND, Seen.MANY)
        if seen is Seen.OTHER_KIND:
            self._probe_interval.reset()
        elif seen is Seen.FULL_KIND:
            self._probe = min(2 * self._probe, _PROBE)
            self._next_probe = time.monotonic() + self._probe_interval.next()
            self._probing = False

    # ---- answers

    @property
    def probes(self) -> bool | None:
        """Which kind is full, where the next claim is a probe (True: async jobs); None: it is none."""
        return self._full_of_async if self._probing else None

    @property
    def pause(self) -> float:
        """Seconds until a claim is of use again."""
        return max(0.0, max(self._paused_until, self._next_probe) - time.monotonic())

    @property
    def max_waiting(self) -> int:
        """How many sync jobs may wait for a thread; more than that were claimed while jobs were shorter."""
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
            # Jobs of the kind that is not full are still claimed, by probes.
            return 0 if self.pause else min(self._probe, max(sync_room, async_room, 0)), async_room <= 0
        if enough and self._sync_share > _MOSTLY:
            # The next claim comes when one of the waiting jobs has ended, or turns out to be long.
            return 0, None
        share = min(max(self._sync_share, 0.001), 0.999)
        return max(1, min(int(sync_room / share), int(async_room / (1 - share)), BATCH_JOBS)), None

    @staticmethod
    def _ahead(seconds: float) -> int:
        return int(AHEAD / max(seconds, 0.00005))
