"""The boards of all worker processes, made before the keeper is forked, so that the keeper can read them all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from itertools import chain

from ..keeper.presence import Presence
from ..log.events import counted
from ..worker.seats import AWAY
from .board import SharedBoard
from .child import Child
from .settings import WorkerSettings

__all__ = ["Boards"]

logger = logging.getLogger("aiotask.supervisor")

#: Old processes that the log names.
_NAMED = 5


class Boards:
    """Enough for a replacement of each process, for TTIN, and for some old ones whose last jobs take long.

    Args:
        host: the name under which these processes work.
    """

    def __init__(self, settings: WorkerSettings, host: str) -> None:
        slots = settings.max_in_flight + AWAY + settings.threads
        self._presence = Presence(host, cells=2 * settings.concurrency + 16)
        #: All boards, in use or free.
        self.all = [SharedBoard(slots, cell) for cell in self._presence.cells]
        self._free = deque(self.all)
        #: Whether it has been logged that no board is free, since one was.
        self._is_logged = False

    @property
    def most(self) -> int:
        """The most processes that an operator may ask for."""
        return len(self.all) // 2

    def find(self, children: Collection[Child]) -> SharedBoard | None:
        """A free board; None, which is logged once: old processes use all of them."""
        if self._free:
            self._is_logged = False
            return self._free[0]
        # One that has nothing left to do is about to go.
        if not self._is_logged and not any(child.done_since for child in children):
            self._is_logged = True
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
        """Whether a board is free."""
        return bool(self._free)

    def take(self, board: SharedBoard) -> None:
        """A process uses this board now."""
        self._free.remove(board)

    def give_back(self, board: SharedBoard) -> None:
        """The process that used this board has ended."""
        self._free.append(board)

    def rename(self, host: str) -> None:
        self._presence.rename(host)

    def remove(self) -> None:
        """The host has left, so nothing is to be proved any more."""
        self._presence.remove()
