"""Limited jobs in a worker: they are admitted for free seats, and put in line if they came without their limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import cast

import msgspec

from ..broker import Broker, Claim, Requeue
from ..brokers import features
from ..brokers.limits import Limits
from ..brokers.technology import LIMITS
from ..errors import BrokerError, ConfigError
from ..job import RELEASE, More, encode_job
from ..loops.agent import agent
from ..tasks.limits import Limited
from ..tasks.task import Registry
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from .async_lane import AsyncLane
from .life import Life
from .node import function_of, is_chunk
from .prefetch import AHEAD
from .run import Run
from .seats import Seats
from .settler import Settler
from .sync_lane import SyncLane

__all__ = ["Admission"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two claims of a limited job while only jobs of the other kind, sync or async, could start.
_PROBE = 0.5


class Admission:
    """Says how many limited jobs a claim may admit.

    An admitted job holds a slot of its limit: it starts at once, or within the 50 ms that a job may wait here, and goes
    back to its place in its line otherwise.

    Args:
        sealer: of jobs.

    Attributes:
        is_needed: whether tasks of the worker have limits. Without any, no part of the worker asks here.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry,
        life: Life,
        settler: Settler,
        seats: Seats,
        asyncs: AsyncLane,
        syncs: SyncLane,
        *,
        sealer: Sealer,
        serializer: Serializer,
    ) -> None:
        limited = [task.is_async for task in registry if "limit" in task.more]
        self.is_needed = bool(limited) and LIMITS in features(broker.url)
        self._broker = cast("Limits", broker)
        #: Whether all limited tasks are async; None: there are sync and async ones.
        self._only = all(limited) if all(limited) or not any(limited) else None
        self._life = life
        self._settler = settler
        self._seats = seats
        self._asyncs = asyncs
        self._syncs = syncs
        self._sealer = sealer
        self._serializer = serializer
        #: When a job may be admitted although those of one kind could not start (monotonic).
        self._next_probe = 0.0

    # ---- claims

    def offer(self) -> bool:
        """Before a claim: tell the broker how many limited jobs it may admit. Returns whether it may admit any."""
        free = self._broker.free_seats = self._free()
        return free > 0

    async def block(self, waiting: Awaitable[Claim]) -> Claim:
        """The answer to a blocking claim. One that was made without a free seat ends as soon as there is one."""
        if self._broker.free_seats > 0:
            return await waiting
        waker = agent(self._wake())
        try:
            return await waiting
        finally:
            waker.cancel()

    async def _wake(self) -> None:
        while self._free() <= 0:
            await self._life.wait(None)
        while True:
            # Repeated, since a claim that is just about to block does not notice the first call.
            try:
                await self._broker.wake()
            except BrokerError:
                return
            await asyncio.sleep(0.02)

    def _free(self) -> int:
        if self._only is not None:
            return max(self._free_of(is_async=self._only), 0)
        asyncs, syncs = self._free_of(is_async=True), self._free_of(is_async=False)
        if (least := min(asyncs, syncs)) > 0 or max(asyncs, syncs) <= 0:
            return max(least, 0)
        # A claim cannot choose between sync and async jobs: one that cannot start goes back.
        now = time.monotonic()
        if now < self._next_probe:
            return 0
        self._next_probe = now + _PROBE
        return 1

    def _free_of(self, *, is_async: bool) -> int:
        lane: AsyncLane | SyncLane = self._asyncs if is_async else self._syncs
        free = self._seats.free if is_async else self._syncs.threads - self._syncs.busy
        if free <= 0:
            # Where all are taken by short jobs, one more job starts soon.
            free = 0 if lane.stuck(AHEAD) else 1
        if lane.has_limited:
            waiting = sum(map(_is_limited, lane.row))
            lane.has_limited = waiting > 0
            free -= waiting
        return free

    # ---- what a claim has brought

    def turns_away(self, run: Run) -> bool:
        """Whether a run does not take place now: its job goes back to its line, or into it for the first time."""
        lane: AsyncLane | SyncLane = self._asyncs if run.task.is_async else self._syncs
        is_limited = _is_limited(run)
        lane.has_limited |= is_limited
        if run.begun or run.calls_nothing:
            return False
        if is_limited and self._broker.was_parked(run.delivery):
            job, delivery = run.job, run.delivery
            limit = job.more.limit if job.more is not None else ""
            self._settler.requeue(Requeue(delivery, job.queue, delivery.meta, limit=limit, priority=job.priority))
            return True
        if not is_limited:
            limited: Limited | None = run.task.more.get("limit")
            return limited is not None and not run.delivery.suspect and self._line_up(run, limited)
        if lane.stuck(AHEAD) and not run.delivery.suspect:
            self._settler.give_back(run)
            return True
        self._next_probe = 0.0
        return False

    def _line_up(self, run: Run, limited: Limited) -> bool:
        """Put a job into its line that was sent by a program which knows the task by name only, or before it had a
        limit. False: it has no key there, and runs without."""
        try:
            args, kwargs = ((), {}) if limited.key is None else self._arguments(run)
            limit = limited.text(args, kwargs, is_chunk=limited.key is not None and is_chunk(run))
        except ConfigError as error:
            logger.warning('Job "%s" (%s) runs without its limit. %s', run.job.id, run.task.name, error)
            return False
        except Exception:
            # Its arguments cannot be read, or do not fit: the run fails, and says why.
            return False
        job = run.job
        more = msgspec.structs.replace(job.more or More(), limit=limit)
        job = msgspec.structs.replace(job, version=max(job.version, RELEASE), more=more)
        delivery = run.delivery
        self._settler.requeue(
            Requeue(
                delivery,
                job.queue,
                delivery.meta,
                limit=limit,
                priority=job.priority,
                sealed=self._sealer.seal(encode_job(job)),
            )
        )
        return True

    def _arguments(self, run: Run) -> tuple[tuple[object, ...], dict[str, object]]:
        args, kwargs = self._serializer.load_call(run.job.body, function_of(run), run.upstream)
        return tuple(args), dict(kwargs)


def _is_limited(run: Run) -> bool:
    return run.job.more is not None and run.job.more.limit != ""
