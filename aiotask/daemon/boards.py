"""Places for worker processes: pages that exist before the keeper is forked, so there is a last one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from itertools import chain

from ..keeper.presence import Presence
from ..log.events import counted
from ..worker.seats import AWAY
from .board import Board
from .child import Forked
from .settings import WorkerSettings

__all__ = ["Places"]

logger = logging.getLogger("aiotask.supervisor")

#: Old processes that are named.
_NAMED = 5


class Places:
    """Enough for a replacement of each process, for TTIN, and for some old ones whose last jobs take long.

    Args:
        host: the name under which these processes work.
    """

    def __init__(self, settings: WorkerSettings, host: str) -> None:
        slots = settings.max_in_flight + AWAY + settings.threads
        self._presence = Presence(host, cells=2 * settings.concurrency + 16)
        #: All that there are.
        self.boards = [Board(slots, cell) for cell in self._presence.cells]
        self._free = deque(self.boards)
        #: That there is none has been said since there was one.
        self._said = False

    @property
    def most(self) -> int:
        """Processes that may be wanted."""
        return len(self.boards) // 2

    def find(self, children: Collection[Forked]) -> Board | None:
        """A free place; None, which is said once: old processes have all of them."""
        if self._free:
            self._said = False
            return self._free[0]
        # One that has nothing left to do is about to go.
        if not self._said and not any(child.done_since for child in children):
            self._said = True
            old = [child for child in children if child.draining]
            named = [f"{child.title} with {counted(len(child.board.started()), 'job')}" for child in old[:_NAMED]]
            logger.error(
                "No place is left for another process: %s still %s (%s). The next new process, and with it any new "
                "code, waits until one of them has ended.",
                counted(len(old), "old process"),
                "runs its last jobs" if len(old) == 1 else "run their last jobs",
                ", ".join(chain(named, ["…"] if len(old) > _NAMED else [])),
            )
        return None

    @property
    def are_free(self) -> bool:
        """Whether there is one."""
        return bool(self._free)

    def take(self, board: Board) -> None:
        """A process works there now."""
        self._free.remove(board)

    def give_back(self, board: Board) -> None:
        """It has ended."""
        self._free.append(board)

    def rename(self, host: str) -> None:
        self._presence.rename(host)

    def remove(self) -> None:
        """The host has left, so nothing is to be proved any more."""
        self._presence.remove()
