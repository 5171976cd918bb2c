"""The supervisor's care for its keeper: there is always one, and each hears of every death."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .board import Board
from .child import Exit
from .doors import Doors
from .forked import Forked
from .keeper import Post, run_keeper
from .patience import Patience
from .postmortem import how_it_ended
from .settings import WorkerSettings
from .vitals import Vitals

__all__ = ["Keepers"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds without a heartbeat after which a keeper is replaced.
SILENCE = 2.0


class Keepers:
    """One keeper after the other.

    Args:
        boards: the pages of all workers there may ever be.
        vitals: the supervisor's own page.
        doors: where the keeper answers probes.
        fork: makes a process of a number, a page and what it does; None when the system has no room for one.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        boards: Sequence[Board],
        vitals: Vitals,
        doors: Doors,
        fork: Callable[[int, Board, Callable[[Forked], int]], Forked | None],
    ) -> None:
        self._settings = settings
        self._boards = boards
        self._vitals = vitals
        self._doors = doors
        self._fork = fork
        self._board = Board(1)
        # The lease hangs on it, so not for long.
        self._patience = Patience(1.0)
        self._deaths: deque[dict[str, Any]] = deque()
        self._told = 0
        self._leaving: Forked | None = None
        self._leaving_since = 0.0
        self.now: Forked | None = None
        #: The last one has given back what there was, and gone.
        self.left = False

    def fill(self, apps: Sequence[dict[str, Any]], host: str) -> None:
        """A keeper, if there is none and it is time."""
        if self.now is not None or not apps or not self._patience.is_over:
            return
        board = self._board
        board.reset()

        def live(keeper: Forked) -> int:
            ends = keeper.command_end, keeper.report_end
            post = Post(board, self._boards, self._vitals, self._doors, host, *ends, apps, keeper.stacks)
            return run_keeper(self._settings, post)

        keeper = self.now = self._fork(0, board, live)
        self._told = 0
        if keeper is None:
            self._patience.lost(time.monotonic())
            return
        for death in self._deaths:
            self._tell(keeper, death)

    def report(self, death: dict[str, Any]) -> None:
        """A worker has ended."""
        # Remembered for a while: a keeper that dies now has a successor that must hear of it.
        self._deaths.append(death)
        while len(self._deaths) > 4 * len(self._boards):
            self._deaths.popleft()
        if self.now is not None:
            self._tell(self.now, death)

    def _tell(self, keeper: Forked, death: dict[str, Any]) -> None:
        self._told += 1
        keeper.send({"death": death})

    @property
    def is_done(self) -> bool:
        """Whether the jobs of all reported deaths are back."""
        return not self._deaths or (self.now is not None and self._board.buried >= self._told)

    def look(self) -> None:
        """End it if it is silent."""
        if self.now is not None and not self.now.killed and time.monotonic() - self._board.heartbeat > SILENCE:
            self.now.kill(f"silence of more than {SILENCE:g} s")

    def died(self, code: int) -> bool:
        """It has ended. Whether the host lives: a peer may have declared it dead."""
        assert self.now is not None
        keeper, self.now = self.now, None
        dump = keeper.told_stacks()
        keeper.close()
        self._patience.lost(keeper.since)
        if code == Exit.DONE and keeper is self._leaving:
            self.left = True
        elif code == Exit.NOT_LIVE:
            return False
        else:
            how = keeper.killed or how_it_ended(code)
            logger.warning("The keeper (pid %d) ended by %s; a new one takes over.", keeper.pid, how)
            if dump:
                logger.warning("The stacks of the keeper (pid %d):\n%s", keeper.pid, dump)
        return True

    def leave(self) -> None:
        """Ask it to give back what is left and go."""
        if self.now is not None and self._leaving is not self.now:
            self._leaving = self.now
            self._leaving_since = time.monotonic()
            self.now.send({"leave": list(self._deaths)})

    def hurry(self) -> None:
        """Somebody has asked again for the end of all: nobody waits long for a broker that does not answer."""
        if self._leaving is not None and time.monotonic() - self._leaving_since > SILENCE:
            self.left = True
