"""The agent that sends the jobs of schedules when they are due. It imports no code of the app."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence

from ..broker import BATCH_BYTES, BATCH_JOBS, Push, special_of
from ..brokers.schedules import BATCH_SCHEDULES, UNPLANNED, Due, Fire, Schedules, ScheduleState
from ..errors import AiotaskError, BrokerError, ConfigError, ConnectionLost, SealError
from ..job import encode_job
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter, Throttle
from ..values.schedule import MOST, Turn, after, due_at, next_run
from ..wire import scheduled
from ..wire.scheduled import Declared, job_of, run_id
from ..wire.seal import Sealer

__all__ = ["Scheduler"]

logger = logging.getLogger("aiotask.keeper")

#: Schedules that one look reads; what is sent of them goes in two calls.
_LOOK = BATCH_SCHEDULES
#: Seconds within which ``hear`` is called again: what is due later is heard of in time.
_SOON = 0.25
#: Seconds between two looks where all that is due cannot be run here.
_REST = 2.0
#: Seconds by which the broker's clock went back, from which on that is a step and no correction.
_STEP = 1.0
#: Seconds between two log lines about one cause.
_LOGGED_ONCE = 600.0


class Scheduler:
    """Any number of keepers may do so at once: the broker compares, so that each run is sent once.

    It looks when ``Due`` has found a schedule that is due: an app without schedules pays nothing.
    """

    def __init__(self, broker: Schedules, secrets: Sequence[str], app: str) -> None:
        self._broker = broker
        self._schedules = scheduled.Schedules(secrets, app)
        self._sealer = Sealer(secrets, "job")
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        #: What the broker's clock is ahead of the monotonic one (seconds); None: nothing was heard yet.
        self._ahead: float | None = None
        #: Whether next runs may lie too far away, since the broker's clock was set back.
        self._may_stray = False
        self._rest_until = -math.inf
        self._warnings: dict[str, Throttle] = {}
        self._report_error = ErrorReporter(
            logger, "The broker refused to run schedules; trying again: %s", KEEPER_LOG_DELAY
        )

    def hear(self, due: Due | None) -> None:
        """What is due, as the broker said just now; called several times a second. None: there are no schedules."""
        if due is None:
            return
        now = time.monotonic()
        ahead = due.time - now
        # What happened before the first word is not known.
        if self._ahead is None or ahead < self._ahead - _STEP:
            self._may_stray = True
            self._wake.set()
        self._ahead = ahead
        until = max(due.until, self._rest_until - now)
        if until <= _SOON and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, until), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self.tick()
                except BrokerError as error:
                    if not isinstance(error, ConnectionLost):
                        self._report_error(error)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def tick(self) -> int:
        """Run all that is due; return the number of schedules that moved on."""
        if self._may_stray:
            await self._fetch_strays()
            self._may_stray = False
        moved = skip = 0
        while True:
            look = await self._broker.due_schedules(_LOOK, skip)
            found = [(state, self._judged(state, look.time)) for state in look.due]
            skip += sum(fire is None for _, fire in found)
            won = await self._fire([fire for _, fire in found if fire is not None])
            moved += won
            if not won and len(look.due) < _LOOK:
                break
        if skip:
            self._rest_until = time.monotonic() + _REST
        return moved

    async def _fire(self, fires: Sequence[Fire]) -> int:
        return sum([sum(await self._broker.fire(batch)) for batch in _batches(fires)])

    # ---- one schedule

    def _judged(self, state: ScheduleState, now: float) -> Fire | None:
        """What is to be done with a schedule that is due; None: it is left to others."""
        try:
            declared = self._schedules.open(state.name, state.sealed)
            if state.moment == UNPLANNED:
                return self._planned(state, declared, now)
            turn = next_run(declared.spec, state.name, state.moment, now)
        except (SealError, ConfigError) as error:
            self._warn(state.name, error)
            return None
        if turn.left_out:
            self._say_left_out(state.name, turn)
        runs = turn.runs[:BATCH_JOBS]
        following = turn.runs[len(runs)] if len(runs) < len(turn.runs) else turn.next
        due = due_at(declared.spec, state.name, following)
        last = max(state.last, *runs) if runs else state.last
        return Fire(state, following, due, last, self._jobs(state, declared, runs, now))

    def _planned(self, state: ScheduleState, declared: Declared, now: float) -> Fire:
        """The first run of a schedule that is new, or was changed, or resumed."""
        spec = declared.spec
        first = after(spec, state.since)
        return Fire(state, first, due_at(spec, state.name, first), state.last)

    def _jobs(self, state: ScheduleState, declared: Declared, runs: Sequence[float], now: float) -> list[Push]:
        jobs = []
        for number, moment in enumerate(runs):
            # The same moment comes again where the broker's clock was set back.
            id = run_id(state.name, moment, state.runs + number if moment <= state.last else 0)
            job = job_of(declared, id, now)
            sealed = self._sealer.seal(encode_job(job))
            special = None if job.more is None else special_of(job.more, job.result_ttl)
            custom = declared.call.has_same_id
            jobs.append(Push(job.id, job.queue, job.priority, sealed, custom=custom, special=special))
        return jobs

    def _warn(self, name: str, error: AiotaskError) -> None:
        if self._warnings.setdefault(str(error), Throttle(_LOGGED_ONCE)).passes():
            logger.error('The schedule "%s" cannot be run by this host, and is left to others: %s', name, error)

    def _say_left_out(self, name: str, turn: Turn) -> None:
        logger.warning(
            'The schedule "%s" was due %s times while nothing ran it; the newest %d run, %s%d older ones do not.',
            name,
            f"more than {MOST:,}",
            len(turn.runs),
            "at least " if turn.left_out >= 10_000 else "",
            turn.left_out,
        )

    # ---- after the clock was set back

    async def _fetch_strays(self) -> None:
        """Let what comes every few seconds go on in its step: a calendar is silent until its time comes again."""
        start: int | None = 0
        while start is not None:
            page = await self._broker.stray_schedules(start)
            if page.schedules:
                now = (await self._broker.due_schedules(0)).time
                await self._fire([fire for state in page.schedules if (fire := self._moved_back(state, now))])
            start = page.after

    def _moved_back(self, state: ScheduleState, now: float) -> Fire | None:
        try:
            spec = self._schedules.open(state.name, state.sealed).spec
            following = after(spec, now)
        except (SealError, ConfigError):
            return None
        return Fire(state, following, due_at(spec, state.name, following), state.last)


def _batches(fires: Sequence[Fire]) -> Iterator[list[Fire]]:
    """The same in calls of at most BATCH_JOBS schedules and jobs, and about BATCH_BYTES bytes."""
    batch: list[Fire] = []
    count = size = 0
    for fire in fires:
        jobs, weight = 1 + len(fire.jobs), sum(len(push.sealed) for push in fire.jobs)
        if batch and (count + jobs > BATCH_JOBS or size + weight > BATCH_BYTES):
            yield batch
            batch, count, size = [], 0, 0
        batch.append(fire)
        count, size = count + jobs, size + weight
    if batch:
        yield batch
