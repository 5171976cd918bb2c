"""The supervisor's care for its keeper: there is always one, it knows what is served, and it hears of every death."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from .app_facts import AppFacts, app_key
from .board import Board
from .child import Forked
from .fork import Exit
from .health.sockets import Doors
from .health.vitals import Vitals
from .keeper_process import FAREWELL, Post, run_keeper
from .messages import Leave, LostApp, Message, OnlyKeeper, Retire, WorkerDeath
from .restarts import Patience
from .settings import WorkerSettings
from .watch.postmortem import how_it_ended

__all__ = ["Keepers"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds without a heartbeat after which a keeper is replaced.
SILENCE = 2.0


class _Term:
    """One keeper process with its page, and what the supervisor has told it."""

    def __init__(self, apps: Sequence[AppFacts]) -> None:
        self.apps = list(apps)
        self.board = Board(1)
        self.process: Forked | None = None
        #: Deaths that it was told of.
        self.told = 0
        #: It is the only one, so that it may take jobs back from a loop that stands still.
        self.alone = False
        #: When it was asked to go (monotonic); 0: it was not.
        self.leaving_since = 0.0

    def tell(self, message: Message) -> None:
        if self.process is not None:
            self.process.send(message)

    def tell_death(self, death: WorkerDeath) -> None:
        self.told += 1
        self.tell(death)


class Keepers:
    """One keeper after the other. Where what is served has changed, the next one begins before the last one goes.

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
        # The lease hangs on it, so not for long.
        self._patience = Patience(1.0)
        self._deaths: deque[WorkerDeath] = deque()
        self._now: _Term | None = None
        self._next: _Term | None = None
        self._retiring: list[_Term] = []
        #: The last one has given back what there was, and gone.
        self.left = False

    @property
    def _terms(self) -> list[_Term]:
        return [term for term in (self._now, self._next, *self._retiring) if term is not None]

    @property
    def all(self) -> list[Forked]:
        """The processes that live: one, or two while one follows the other."""
        return [term.process for term in self._terms if term.process is not None]

    @property
    def is_there(self) -> bool:
        return self._now is not None

    # ---- their lives

    def fill(self, apps: Sequence[AppFacts], host: str) -> None:
        """A keeper for these apps, if there is none and it is time."""
        if self._next is not None and self._next.process is not None and self._next.process.booted:
            self._succeed()
        if self._now is not None and not self._now.alone and len(self._terms) == 1:
            self._now.alone = True
            self._now.tell(OnlyKeeper())
        if not apps or self._next is not None or not self._patience.is_over:
            return
        if self._now is None:
            self._now = self._start(apps, host)
        elif self._now.apps != list(apps) and not self._now.leaving_since:
            self._next = self._start(apps, host)

    def _start(self, apps: Sequence[AppFacts], host: str) -> _Term | None:
        term = _Term(apps)

        def live(keeper: Forked) -> int:
            ends = keeper.command_end, keeper.report_end
            post = Post(term.board, self._boards, self._vitals, self._doors, host, *ends, term.apps, keeper.stacks)
            return run_keeper(self._settings, post)

        term.process = self._fork(0, term.board, live)
        if term.process is None:
            self._patience.lost(time.monotonic())
            return None
        for death in self._deaths:
            term.tell_death(death)
        return term

    def _succeed(self) -> None:
        """The next keeper is at work: the last one ends what is no longer served, and goes."""
        last, self._now, self._next = self._now, self._next, None
        assert self._now is not None
        if last is not None:
            names = {app.name for app in self._now.apps}
            kept = {app_key(app) for app in self._now.apps}
            lost = [
                LostApp(*app_key(app), forget=app.name not in names) for app in last.apps if app_key(app) not in kept
            ]
            last.tell(Retire(lost, list(self._deaths) if lost else []))
            last.leaving_since = time.monotonic()
            self._retiring.append(last)

    def tick(self) -> None:
        """End those that are silent, or take too long to go."""
        now = time.monotonic()
        for term in self._terms:
            process = term.process
            if process is None or process.killed:
                continue
            if now - term.board.heartbeat > SILENCE:
                process.kill(f"silence of more than {SILENCE:g} s")
            elif term in self._retiring and now - term.leaving_since > FAREWELL + SILENCE:
                process.kill("not having ended after it was replaced")

    def died(self, keeper: Forked, code: int) -> bool:
        """One has ended. Whether the host lives: a peer may have declared it dead."""
        term = next(term for term in self._terms if term.process is keeper)
        dump = keeper.told_stacks()
        keeper.close()
        term.process = None
        is_retired = term in self._retiring
        if is_retired:
            self._retiring.remove(term)
        elif term is self._next:
            self._next = None
        else:
            self._now = None
        if not is_retired:
            self._patience.lost(keeper.since)
        if code == Exit.DONE and term.leaving_since:
            self.left = self.left or not is_retired
        elif code == Exit.NOT_LIVE:
            return is_retired
        else:
            how = keeper.killed or how_it_ended(code)
            follows = "" if is_retired else "; a new one takes over"
            logger.warning("The keeper (pid %d) ended by %s%s.", keeper.pid, how, follows)
            if dump:
                logger.warning("The stacks of the keeper (pid %d):\n%s", keeper.pid, dump)
        return True

    # ---- deaths of workers

    def report(self, death: WorkerDeath) -> None:
        """A worker has ended."""
        # Remembered for a while: a keeper that dies now has a successor that must hear of it.
        self._deaths.append(death)
        while len(self._deaths) > 4 * len(self._boards):
            self._deaths.popleft()
        for term in (self._now, self._next):
            if term is not None:
                term.tell_death(death)

    @property
    def is_done(self) -> bool:
        """Whether the jobs of all reported deaths are back."""
        return not self._deaths or (self._now is not None and self._now.board.handled_deaths >= self._now.told)

    # ---- the end of all

    def leave(self) -> None:
        """Ask the keeper to give back what is left and go."""
        if self._next is not None and self._next.process is not None and not self._next.process.killed:
            self._next.process.kill("the end of the supervisor")
        if self._now is not None and not self._now.leaving_since:
            self._now.leaving_since = time.monotonic()
            self._now.tell(Leave(list(self._deaths)))

    def hurry(self) -> None:
        """Somebody has asked again for the end of all: nobody waits long for a broker that does not answer."""
        term = self._now
        if term is not None and term.leaving_since and time.monotonic() - term.leaving_since > SILENCE:
            self.left = True
