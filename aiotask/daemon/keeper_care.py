"""The supervisor's care for its keeper: there is always one, it knows what is served, and it is sent every death."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from .app_facts import AppFacts, app_key
from .board import SharedBoard
from .child import Child
from .fork import Exit
from .health.sockets import ProbeSockets
from .health.vitals import Vitals
from .keeper_process import LEAVE_TIMEOUT, KeeperResources, run_keeper
from .messages import Leave, LostApp, Message, OnlyKeeper, Retire, WorkerDeath
from .report_ledger import ReportLedger
from .restarts import RestartDelay
from .settings import WorkerSettings
from .watch.postmortem import how_it_ended

__all__ = ["KeeperCare"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds without a heartbeat after which a keeper is replaced.
HEARTBEAT_TIMEOUT = 2.0


class _KeeperChild:
    """One keeper process with its page, and what the supervisor has sent to it."""

    def __init__(self, apps: Sequence[AppFacts]) -> None:
        self.apps = list(apps)
        self.board = SharedBoard(1)
        self.process: Child | None = None
        #: How many deaths of workers the keeper was sent.
        self.sent_deaths = 0
        #: Whether the keeper knows that it is the only one, and may take jobs back from a loop that stands still.
        self.alone = False
        #: When the keeper was asked to go (monotonic seconds); 0: it was not.
        self.leaving_since = 0.0

    def send(self, message: Message) -> None:
        if self.process is not None:
            self.process.send(message)

    def send_death(self, death: WorkerDeath) -> None:
        self.sent_deaths += 1
        self.send(death)


class KeeperCare:
    """One keeper after the other. Where what is served has changed, the next one begins before the last one goes.

    Args:
        boards: the pages of all workers there may ever be.
        vitals: the supervisor's own page.
        probe_sockets: where the keeper answers probes.
        fork: makes a process of a number, a page and what it does; None when the system has no room for one.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        boards: Sequence[SharedBoard],
        vitals: Vitals,
        probe_sockets: ProbeSockets,
        fork: Callable[[int, SharedBoard, Callable[[Child], int]], Child | None],
    ) -> None:
        self._settings = settings
        self._boards = boards
        self._vitals = vitals
        self._probe_sockets = probe_sockets
        self._fork = fork
        # The lease of the host depends on its keeper, so the delay stays short.
        self._restart_delay = RestartDelay(1.0)
        self._deaths: deque[WorkerDeath] = deque()
        #: By the label of the unit.
        self._ledgers: dict[str, ReportLedger] = {}
        self._now: _KeeperChild | None = None
        self._next: _KeeperChild | None = None
        self._retiring: list[_KeeperChild] = []
        #: Whether the last keeper has given back what was left, and gone.
        self.has_left = False

    @property
    def _processes(self) -> list[_KeeperChild]:
        return [keeper for keeper in (self._now, self._next, *self._retiring) if keeper is not None]

    @property
    def all(self) -> list[Child]:
        """The processes that live: one, or two while one follows the other."""
        return [keeper.process for keeper in self._processes if keeper.process is not None]

    @property
    def is_there(self) -> bool:
        return self._now is not None

    # ---- keepers

    def fill(self, apps: Sequence[AppFacts], host: str) -> None:
        """Start a keeper for these apps, if there is none and it is time."""
        if self._next is not None and self._next.process is not None and self._next.process.booted:
            self._succeed()
        if self._now is not None and not self._now.alone and len(self._processes) == 1:
            self._now.alone = True
            self._now.send(OnlyKeeper())
        if not apps or self._next is not None or not self._restart_delay.is_over:
            return
        if self._now is None:
            self._now = self._start(apps, host)
        elif self._now.apps != list(apps) and not self._now.leaving_since:
            self._next = self._start(apps, host)

    def _start(self, apps: Sequence[AppFacts], host: str) -> _KeeperChild | None:
        keeper = _KeeperChild(apps)
        # What one keeper has begun to report, the next one ends.
        ledgers = [self._ledgers.setdefault(app.label, ReportLedger()) for app in apps]

        def live(child: Child) -> int:
            resources = KeeperResources(
                board=child.board,
                workers=self._boards,
                vitals=self._vitals,
                probe_sockets=self._probe_sockets,
                host=host,
                messages=child.command_end,
                reports=child.report_end,
                apps=keeper.apps,
                stacks=child.stacks,
                ledgers=ledgers,
            )
            return run_keeper(self._settings, resources)

        keeper.process = self._fork(0, keeper.board, live)
        if keeper.process is None:
            self._restart_delay.died(time.monotonic())
            return None
        for death in self._deaths:
            keeper.send_death(death)
        return keeper

    def _succeed(self) -> None:
        """The next keeper is at work: the last one ends what is no longer served, and goes."""
        last, self._now, self._next = self._now, self._next, None
        assert self._now is not None
        if last is not None:
            leases = {app.lease for app in self._now.apps}
            kept = {app_key(app) for app in self._now.apps}
            lost = [
                LostApp(*app_key(app), forget=app.lease not in leases) for app in last.apps if app_key(app) not in kept
            ]
            last.send(Retire(lost, list(self._deaths) if lost else []))
            last.leaving_since = time.monotonic()
            self._retiring.append(last)

    def tick(self) -> None:
        """Kill keepers that are silent, or take too long to go."""
        now = time.monotonic()
        for keeper in self._processes:
            process = keeper.process
            if process is None or process.killed:
                continue
            if now - keeper.board.heartbeat > HEARTBEAT_TIMEOUT:
                process.kill(f"silence of more than {HEARTBEAT_TIMEOUT:g} s")
            elif keeper in self._retiring and now - keeper.leaving_since > LEAVE_TIMEOUT + HEARTBEAT_TIMEOUT:
                process.kill("not having ended after it was replaced")

    def died(self, child: Child, code: int) -> bool:
        """A keeper process has ended; False: a peer has declared this host dead."""
        keeper = next(keeper for keeper in self._processes if keeper.process is child)
        dump = child.take_stacks()
        child.close()
        keeper.process = None
        is_retired = keeper in self._retiring
        if is_retired:
            self._retiring.remove(keeper)
        elif keeper is self._next:
            self._next = None
        else:
            self._now = None
        if not is_retired:
            self._restart_delay.died(child.since)
        if code == Exit.DONE and keeper.leaving_since:
            self.has_left = self.has_left or not is_retired
        elif code == Exit.NOT_LIVE:
            return is_retired
        else:
            how = child.killed or how_it_ended(code)
            follows = "" if is_retired else "; a new one takes over"
            logger.warning("The keeper (pid %d) ended by %s%s.", child.pid, how, follows)
            if dump:
                logger.warning("The stacks of the keeper (pid %d):\n%s", child.pid, dump)
        return True

    # ---- deaths of workers

    def report(self, death: WorkerDeath) -> None:
        """Send the keeper that a worker has ended."""
        # Remembered for a while: a keeper that dies now has a successor that must be sent it, too.
        self._deaths.append(death)
        while len(self._deaths) > 4 * len(self._boards):
            self._deaths.popleft()
        for keeper in (self._now, self._next):
            if keeper is not None:
                keeper.send_death(death)

    @property
    def is_done(self) -> bool:
        """Whether the jobs of all reported deaths are back."""
        return not self._deaths or (self._now is not None and self._now.board.handled_deaths >= self._now.sent_deaths)

    # ---- the end

    def leave(self) -> None:
        """Ask the keeper to give back what is left and go."""
        if self._next is not None and self._next.process is not None and not self._next.process.killed:
            self._next.process.kill("the end of the supervisor")
        if self._now is not None and not self._now.leaving_since:
            self._now.leaving_since = time.monotonic()
            self._now.send(Leave(list(self._deaths)))

    def hurry(self) -> None:
        """The operator has asked again for an end: do not wait long for a broker that does not answer."""
        keeper = self._now
        if keeper is not None and keeper.leaving_since and time.monotonic() - keeper.leaving_since > HEARTBEAT_TIMEOUT:
            self.has_left = True
