"""Schedules in a trial: each moment runs once, whatever clocks do and whoever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from aiotask.wire.scheduled import run_id

from .ledger import Attempt, Ledger

__all__ = ["EVERY", "Timetable"]

#: Seconds between two runs of the schedule that has no calendar.
EVERY = 0.5
_MINUTE = 60.0


class Timetable:
    """Three schedules of a task that takes no arguments: by a step, and by the minute, with and without missed runs."""

    def __init__(self, app: Any, task: Any) -> None:
        self._app, self._task = app, task

    async def set(self) -> None:
        await self._app.schedules.set("step", self._task.s(), every=EVERY)
        await self._app.schedules.set("all", self._task.s(), cron="* * * * *", missed="all")
        await self._app.schedules.set("once", self._task.s(), cron="* * * * *")

    async def remove(self) -> None:
        for name in ("step", "all", "once"):
            await self._app.schedules.remove(name)

    @staticmethod
    def runs(ledger: Ledger, name: str) -> dict[str, list[Attempt]]:
        """The runs of a schedule by id of their job."""
        beginning = run_id(name, 0.0).rpartition("-")[0] + "-"
        return {id: runs for id, runs in ledger.by_job.items() if id.startswith(beginning)}

    def faults(self, ledger: Ledger, allowed: Callable[[float, float], float]) -> Iterator[str]:
        """What is wrong with the runs.

        Args:
            allowed: seconds that may pass between two runs of ``step`` that began at these moments (monotonic).
        """
        for name in ("step", "all", "once"):
            found = self.runs(ledger, name)
            for id, runs in found.items():
                if any(run.end is not None for run in runs[:-1]):
                    yield f"{name}: {id} ran {len(runs)} times"
            if name == "step":
                starts = sorted(runs[0].start for runs in found.values())
                for one, other in pairwise(starts):
                    if other - one > allowed(one, other):
                        yield f"{name} did not run for {other - one:.1f} s"
                continue
            moments = sorted(float(id.split("-")[2]) for id in found)
            if len(set(moments)) < len(moments) or any(id.count("-") > 2 for id in found):
                yield f"{name}: a moment ran again: {sorted(found)[:5]}"
            gaps = [other - one for one, other in pairwise(moments) if other - one != _MINUTE]
            if name == "all" and gaps:
                yield f"{name}: moments are missing: {gaps[:5]}"
