"""What a measurement is given."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .databases import KINDS
from .fleet import Fleet, fleet
from .progress import Bar
from .server import Server
from .tasks import Tasks

if TYPE_CHECKING:
    from .feature_tasks import FeatureTasks

__all__ = ["TURN", "Plan"]

#: Asks for a turn.
TURN = "turn"


@dataclass(frozen=True, slots=True)
class Plan:
    """The server to measure against, how many jobs for a rate, and how often."""

    server: Server
    jobs: int
    reps: int
    #: Seconds of a long job, where short ones stand beside it.
    long: float = 2.0
    #: The most jobs that ``scale`` lets wait.
    scale_max: int = 5_000_000
    #: The databases on which rows are measured, if they are installed.
    databases: tuple[str, ...] = KINDS
    bar: Bar = field(default_factory=lambda: Bar(""))
    #: Whether other tasks of the app of ``send``, ``drain``, ``roundtrip`` and ``latency`` use what plain ones do not.
    has_features: bool = False
    #: Whether another checkout is measured at the same time, a repetition here and one there.
    takes_turns: bool = False
    #: What is to be said below the table.
    notes: list[str] = field(default_factory=list)

    def scaled(self, size: int, least: int = 1) -> int:
        """A size that is meant for 40,000 jobs, made smaller where there are fewer."""
        return max(least, round(size * min(1.0, self.jobs / 40_000)))

    def tasks(self) -> Tasks:
        """The tasks on the app of a client, beside others if they are wanted."""
        return (_feature_tasks() if self.has_features else Tasks)(self.server.url)

    @contextlib.asynccontextmanager
    async def fleet(self, processes: int, tasks: Tasks) -> AsyncIterator[Fleet]:
        """Worker processes that have these tasks, and what others of them leave at the server."""
        module = "benchmarks.feature_tasks" if self.has_features else "benchmarks.tasks"
        with fleet(self.server, processes, module=module) as workers:
            await self.use_features(tasks)
            yield workers

    async def use_features(self, tasks: Tasks, *, is_served: bool = True) -> None:
        """Have other tasks leave at the server what plain ones do not, if they are wanted.

        Args:
            is_served: whether workers are in service.
        """
        if self.has_features:
            # From a client of its own: one that has awaited jobs is sent the outcomes of all that it sends later, which
            # the jobs that are measured beside plain ones are not.
            others = _feature_tasks()(self.server.url)
            async with others.app:
                await others.use_features(is_served=is_served)

    def rounds(self) -> Iterator[int]:
        """The number of each repetition, while the bar goes on. With ``takes_turns`` each one is asked for on stdout,
        and waits for a line on stdin."""
        for n in range(self.reps):
            if self.takes_turns:
                print(TURN, flush=True)
                sys.stdin.readline()
            yield n
            self.bar.step()


def _feature_tasks() -> type[FeatureTasks]:
    # An older release that is measured has not all the features.
    from .feature_tasks import FeatureTasks

    return FeatureTasks
