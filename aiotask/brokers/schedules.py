"""The verbs of schedules, of brokers that have the feature ``schedules``: calls that are due again and again.

The broker keeps schedules and compares; when the next run is due, the keeper computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..broker import Broker, Push

__all__ = [
    "BATCH_SCHEDULES",
    "UNPLANNED",
    "Declaration",
    "Declared",
    "Due",
    "Fire",
    "Look",
    "SchedulePage",
    "ScheduleState",
    "Schedules",
]

#: Schedules in one call at most.
BATCH_SCHEDULES = 250
#: The moment at which a schedule stands whose next run is not computed yet.
UNPLANNED = 0.0


class Declaration(msgspec.Struct, frozen=True, gc=False):
    """One schedule as it is given to the broker."""

    name: str
    #: Empty: its declarer has it and cannot make it now. It stays as it is, or is not there.
    sealed: bytes = b""
    #: Eight bytes that tell whether it has the same moments as before.
    moments: bytes = b""
    #: Seconds from now in which its next run lies at latest; 0: a calendar says when.
    horizon: float = 0.0


class Declared(msgspec.Struct, frozen=True, gc=False):
    """That some code has declared a schedule in the last DECLARER_TTL seconds."""

    name: str
    by: str
    #: As in the declaration.
    moments: bytes


class ScheduleState(msgspec.Struct, frozen=True, gc=False):
    """What the broker knows of one schedule. Times are Unix seconds of its clock."""

    name: str
    sealed: bytes
    #: Who declares it in code; empty: it was set at run time.
    by: str
    #: When the next run is due; inf: it is paused.
    due: float
    #: The moment of that run, before jitter; UNPLANNED: not computed yet, and it counts from ``since``.
    moment: float
    since: float
    #: The last moment that was run (0: none), and the number of runs.
    last: float = 0.0
    runs: int = 0
    #: When it was paused; 0: it is not.
    paused: float = 0.0
    #: Who has paused it, and why; empty: it is not known.
    paused_by: str = ""
    paused_why: str = ""


class Look(msgspec.Struct, frozen=True, gc=False):
    """Schedules that are due, and the broker's clock (Unix seconds)."""

    time: float
    due: list[ScheduleState] = []


class SchedulePage(msgspec.Struct, frozen=True, gc=False):
    """Some schedules, and where the next page begins; None: this was the last one."""

    schedules: list[ScheduleState]
    after: int | None = None


class Fire(msgspec.Struct, frozen=True, gc=False):
    """One schedule moves on, and jobs are sent for the runs between."""

    #: As it was read: what has changed since then is left alone.
    state: ScheduleState
    moment: float
    due: float
    #: The last moment that is run; that of the state where none is.
    last: float
    jobs: list[Push] = []


class Due(msgspec.Struct, frozen=True, gc=False):
    """What ``promote`` has seen of schedules: seconds until the next one is due, and the broker's clock."""

    until: float
    time: float


class Schedules(Broker, Protocol):
    """A broker that keeps schedules."""

    @property
    def schedules_due(self) -> Due | None:
        """What the last ``promote`` of this object has found; None: there are no schedules."""
        ...

    async def declare_schedules(
        self, by: str, generation: float, batch: Sequence[Declaration], *, removes: bool, force: bool = False
    ) -> list[str]:
        """Declare all schedules of some code, at most BATCH_SCHEDULES. What a younger generation has declared stays.

        Args:
            by: what declares them.
            removes: whether schedules that an older generation of it has declared, and this one has not, are removed,
                and those of others are taken over. False: only what is not there is added. What other code has
                declared in the last DECLARER_TTL seconds is left to that code instead.
            force: change also those whose next run is due.

        Returns:
            The names of schedules that are to run at other moments, and keep the old ones until a due run has gone.
        """
        ...

    async def set_schedules(self, batch: Sequence[Declaration]) -> list[str]:
        """Set schedules at run time, at most BATCH_SCHEDULES; the names of those that code declares, which stay."""
        ...

    async def declared_schedules(self) -> list[Declared]:
        """Which code declares which schedule at present; several may declare one."""
        ...

    async def pause_schedule(self, name: str, by: str = "", why: str = "") -> bool:
        """Let nothing run until it is resumed; who says so and why is kept. False: there is no such schedule."""
        ...

    async def resume_schedule(self, name: str) -> bool:
        """Let a paused schedule run again, from now on; False: there is no such schedule."""
        ...

    async def remove_schedule(self, name: str) -> bool:
        """Remove a schedule; False: there is none. Code that declares it declares it again."""
        ...

    async def schedule(self, name: str) -> ScheduleState | None: ...

    async def list_schedules(self, after: str = "", limit: int = BATCH_SCHEDULES) -> list[ScheduleState]:
        """Schedules behind the one of this name, those that are due next first; paused ones are last."""
        ...

    async def paused_schedules(self, limit: int = 20) -> list[ScheduleState]:
        """The first paused schedules by name, however many others there are."""
        ...

    async def due_schedules(self, limit: int, skip: int = 0) -> Look:
        """Schedules that are due, but for the first ``skip``; with a limit of 0 only the time."""
        ...

    async def stray_schedules(self, after: int = 0) -> SchedulePage:
        """Schedules whose next run lies beyond their horizon, since the clock was set back."""
        ...

    async def fire(self, batch: Sequence[Fire]) -> list[bool]:
        """Send the jobs of runs that are due, and set the time of the next run of each schedule.

        Several keepers may ask for the same run; the broker sends its jobs once. False: another keeper was quicker, or
        the schedule has changed. ``max_pending`` of queues is not checked; a job that is unfinished is not sent again.
        """
        ...
