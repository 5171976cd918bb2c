"""Schedules as people see and steer them, through a broker and the secrets of its app."""

from __future__ import annotations

import math
import secrets as random_source
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..broker import Push, special_of
from ..brokers.schedules import UNPLANNED, Schedules, ScheduleState
from ..errors import ConfigError, SealError
from ..job import encode_job, ids
from ..values.schedule import Spec
from ..wire import scheduled
from ..wire.scheduled import Declared, job_of
from ..wire.seal import Sealer
from .following import exists

__all__ = ["Schedule", "Timetable"]


@dataclass(frozen=True)
class Schedule:
    """One schedule of an app, as it is on the broker.

    Attributes:
        name: of the schedule; one that code declares is named as its task.
        task, queue, priority: of the call.
        cron, every, timezone, jitter, missed: when it runs; ``cron`` is empty or ``every`` is 0.
        next_run: when its next run is due; None: it is paused, or was set a moment ago.
        last_run: the moment of its last run; None: there was none.
        runs: how many jobs were sent for it.
        paused: since when it is paused; None: it is not.
        paused_by, paused_why: who has paused it, and why; empty: that was not said.
        declared_by: the modules that `aiotask worker` was given, in whose code it is; ``in-loop`` for a worker in an
            event loop; empty: it was set at run time.
        unreadable: why this process cannot read it; empty: it can.
    """

    name: str
    task: str
    queue: str
    priority: int
    cron: str
    every: float
    timezone: str
    jitter: float
    missed: str
    next_run: datetime | None
    last_run: datetime | None
    runs: int
    paused: datetime | None
    declared_by: str
    unreadable: str = ""
    paused_by: str = ""
    paused_why: str = ""

    @property
    def spec(self) -> Spec:
        return Spec(self.cron, self.every, self.timezone, self.jitter, self.missed)

    def described(self) -> dict[str, Any]:
        """As plain data; times in Unix seconds."""
        values = asdict(self)
        return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in values.items()}


class Timetable:
    """The schedules of one app on its broker."""

    def __init__(self, broker: Schedules, secrets: Sequence[str], app: str) -> None:
        self._broker = broker
        self._schedules = scheduled.Schedules(secrets, app)
        self._jobs = Sealer(secrets, "job")

    async def list(self, after: str = "", limit: int = 100) -> AsyncIterator[Schedule]:
        """Schedules behind the one of this name, those that are due next first; paused ones are last."""
        seen = {after}
        while limit > 0 and (page := await self._broker.list_schedules(after, min(limit, 100))):
            for state in page:
                # One that has run meanwhile comes again.
                if state.name not in seen:
                    seen.add(state.name)
                    limit -= 1
                    yield self._shown(state)
            after = page[-1].name

    async def find(self, name: str) -> Schedule | None:
        """The schedule of this name; None: there is none."""
        state = await self._broker.schedule(name)
        return None if state is None else self._shown(state)

    def _shown(self, state: ScheduleState) -> Schedule:
        unreadable, declared = "", None
        try:
            declared = self._schedules.open(state.name, state.sealed)
        except SealError as error:
            unreadable = str(error)
        spec = declared.spec if declared else Spec()
        call = declared.call if declared else None
        return Schedule(
            state.name,
            call.task if call else "",
            call.queue if call else "",
            call.priority if call else 5,
            *(spec.cron, spec.every, spec.timezone, spec.jitter, spec.missed),
            next_run=None if state.moment == UNPLANNED or state.due == math.inf else _when(state.due),
            last_run=_when(state.last) if state.last else None,
            runs=state.runs,
            paused=_when(state.paused) if state.paused else None,
            declared_by=state.by,
            unreadable=unreadable,
            paused_by=state.paused_by,
            paused_why=state.paused_why,
        )

    async def pause(self, name: str, by: str = "", why: str = "") -> None:
        """One that is paused keeps who paused it and when; a reason replaces the one before."""
        before = await self.find(name)
        if before is not None and before.paused is not None:
            by, why = before.paused_by, why or before.paused_why
        _require(name, await self._broker.pause_schedule(name, by[:100], why[:1000]))

    async def resume(self, name: str) -> None:
        _require(name, await self._broker.resume_schedule(name))

    async def remove(self, name: str) -> bool:
        return await self._broker.remove_schedule(name)

    async def run_now(self, name: str) -> str:
        """Send the job of a schedule now, besides its runs; return the id of the job, or of the one that it is.

        Raises:
            JobExists: another job has its key, and the call says on_conflict="error".
        """
        state = await self._broker.schedule(name)
        _require(name, state is not None)
        assert state is not None
        declared: Declared = self._schedules.open(name, state.sealed)
        job = job_of(declared, ids.next(), time.time())
        sealed = self._jobs.seal(encode_job(job))
        special = None if job.more is None else special_of(job.more, job.result_ttl)
        push = Push(job.id, job.queue, job.priority, sealed, custom=declared.call.has_same_id, special=special)
        overflow = await self._broker.push(f"run-now-{random_source.token_hex(8)}", 1, [push])
        if overflow is None:
            return job.id
        if job.id in overflow.refused:
            raise exists(job.id, overflow.refused[job.id])
        return overflow.known.get(job.id, job.id)


def _require(name: str, is_there: bool) -> None:
    if not is_there:
        raise ConfigError(f'There is no schedule "{name}". See: aiotask schedules')


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
