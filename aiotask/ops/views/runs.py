"""Bulk actions that a view has begun: they continue after the visitor has left the view, and can be stopped."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ...errors import AiotaskError
from ..visitors import Verb

__all__ = ["BROKEN_OFF", "Progress", "Running", "Runs", "new_id"]

logger = logging.getLogger("aiotask.views")

#: Bulk actions that are remembered, and seconds for which one that has ended is.
_REMEMBERED, _KEPT = 100, 3600.0
#: Bulk actions that may run at the same time.
MOST_AT_ONCE = 8


#: What to know of a bulk action that has failed.
BROKEN_OFF = (
    "Those that the server had just been sent as it failed are not counted. What is done stays done; begin it again to "
    "go on."
)


@dataclass
class Progress:
    """How far a bulk action is."""

    #: How many were looked at, and what became of them.
    seen: int = 0
    done: int = 0
    asked: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass
class Running:
    """One bulk action."""

    id: str
    verb: Verb
    #: What it is done to, in words; how many there were, and whether there were more than were counted.
    subject: str
    number: int
    is_more: bool
    app: str
    who: str
    #: The address of the page from which it was begun; empty: it was begun from none.
    back: str
    started: float = field(default_factory=time.time)
    ended: float | None = None
    #: ``running``, ``done``, ``stopped`` or ``failed``, and why it failed.
    state: str = "running"
    error: str = ""
    progress: Progress = field(default_factory=Progress)
    task: asyncio.Task[None] | None = None

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(self.progress.seen / self.number, 1.0) if self.number else 0.0


class Runs:
    """The bulk actions of this process."""

    def __init__(self) -> None:
        self._runs: dict[str, Running] = {}

    def get(self, id: str) -> Running | None:
        return self._runs.get(id)

    def all(self, app: str) -> list[Running]:
        """Those of one app, the latest first."""
        return [run for run in reversed(self._runs.values()) if run.app == app]

    @property
    def is_full(self) -> bool:
        return sum(run.state == "running" for run in self._runs.values()) >= MOST_AT_ONCE

    def begin(self, run: Running, work: Callable[[Progress], Awaitable[None]]) -> Running:
        """Run it in the background."""
        self._forget()
        self._runs[run.id] = run
        run.task = asyncio.create_task(self._through(run, work))
        return run

    async def _through(self, run: Running, work: Callable[[Progress], Awaitable[None]]) -> None:
        try:
            await work(run.progress)
            run.state = "done"
        except asyncio.CancelledError:
            run.state = "stopped"
        except AiotaskError as error:
            run.state, run.error = "failed", str(error)
        except Exception as error:
            logger.exception("A bulk action ended with an error")
            run.state, run.error = "failed", f"{type(error).__name__}: {error}"
        finally:
            run.ended = time.time()

    async def stop(self, run: Running) -> None:
        """Stop it; what is done stays done."""
        if run.task is not None and not run.task.done():
            run.task.cancel()
            await asyncio.wait([run.task], timeout=10.0)

    async def close(self) -> None:
        for run in list(self._runs.values()):
            await self.stop(run)

    def _forget(self) -> None:
        old = time.time() - _KEPT
        ended = [id for id, run in self._runs.items() if run.ended is not None]
        for id in ended:
            if (self._runs[id].ended or 0) < old or len(self._runs) >= _REMEMBERED:
                del self._runs[id]


def new_id() -> str:
    return secrets.token_urlsafe(9)
