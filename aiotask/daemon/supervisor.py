"""The supervisor: forks workers and the keeper, notices deaths, obeys the operator's signals.

Single-threaded; it runs no user code and owns no event loop and no connection. Handlers only record,
the loop acts.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial

from ..app import App
from ..inloop.worker import host_id
from ..keeper.presence import sweep
from ..log.events import counted, in_words
from ..log.setup import configure, finish, tend
from ..log.streams import open_streams
from .banner import Greeting
from .board import SharedBoard
from .boards import Boards
from .child import Child, start, wait_for
from .folders import find_folders
from .fork import Exit, become_subreaper, ended_children
from .health.bulletin import Bulletin
from .health.sockets import ProbeSockets
from .keeper_care import KeeperCare
from .leftovers import Leftovers
from .messages import HostRequest, InService, Oversized, SnapshotRequest
from .preload import check_memory_limit, import_library, preload_apps
from .reload import start_watching
from .replacements import Replacements
from .restarts import RestartAllowance, RestartDelay
from .served_apps import ServedApps
from .settings import WorkerSettings
from .signals import Signals, Terminal
from .steering import Steering
from .stops import Stops
from .title import set_title
from .watch.blame import blame
from .watch.oom_kills import OomKills
from .watch.postmortem import Postmortem, how_it_ended, log_failed_load
from .watch.signal_counts import SignalCounts
from .watch.watchdog import Watchdog
from .worker_process import WorkerResources, run_worker

__all__ = ["Supervisor", "supervise"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds between two rounds of the loop, when nothing happens.
TICK_INTERVAL = 0.2
#: Seconds that the keeper has at the end to give back what is left.
KEEPER_TIMEOUT = 12.0


def supervise(settings: WorkerSettings) -> int:
    """Run workers until told to stop; the exit code (0: drained, 2: wrong settings, 3: the app could not be loaded).

    Raises:
        ConfigError: settings are wrong.
    """
    open_streams()
    configure(settings.log_json, settings.log_level, process="supervisor")
    set_title(f"aiotask worker {' '.join(settings.apps)} [supervisor]")
    try:
        return Supervisor(find_folders(settings)).run()
    finally:
        finish()


class Supervisor:
    """Keeps ``concurrency`` worker processes and one keeper alive."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._wanted = settings.concurrency
        self._host = host_id()
        self._children: dict[int, Child] = {}
        self._boards = Boards(settings, self._host)
        self._count = 0
        self._served = ServedApps()
        self._preloaded: Sequence[App] | None = None
        self._greeting = Greeting()
        self._stopping_since: float | None = None
        self._terminal = Terminal()
        self._code = Exit.DONE
        self._ever_up = False
        self._emptied = 0  # Workers of a burst that found their queues empty and went.
        self._restart_delay = RestartDelay(10.0)
        self._restart_allowance = RestartAllowance(10.0 * settings.concurrency, 1.0 * settings.concurrency)
        self._bulletin = Bulletin(settings.grace + KEEPER_TIMEOUT + TICK_INTERVAL)
        self._vitals = self._bulletin.vitals
        self._probe_sockets = ProbeSockets(settings.health_host, settings.health_port)
        self._keeper_care = KeeperCare(
            settings,
            self._boards.all,
            self._vitals,
            self._probe_sockets,
            partial(self._fork, dies_with_parent=False),
        )
        self._replacements = Replacements(settings, self._spawn, self._bulletin.reloading)
        self._steering = Steering(self._vitals, self._replacements.begin)
        self._watchdog = Watchdog(settings.blocked_loop, settings.long_job, settings.threads)
        self._stops = Stops(settings.stopped_process)
        self._leftovers = Leftovers()
        self._watcher = 0
        self._signals = Signals()
        self._signal_counts = SignalCounts()
        self._oom = OomKills()

    # ---- the loop

    def run(self) -> int:
        """Until stopped and drained."""
        become_subreaper()
        self._signals.listen()
        try:
            if self._settings.preload:
                self._preloaded = preload_apps(self._settings)
                if self._preloaded is None:
                    return Exit.BOOT
            sweep()
            import_library()
            check_memory_limit(self._settings.max_memory_per_child)
            gc.collect()
            gc.freeze()
            if self._settings.reload:
                self._watcher = start_watching(self._settings.app_dir)
            while not self._finished():
                self._fill()
                self._keeper_care.fill(self._served.apps, self._host)
                self._wait()
                self._update_served_apps()
                self._reap()
                if self._stopping_since is None:
                    self._replacements.tick(list(self._children.values()), may_start=self._restart_delay.is_over)
                self._end_grace()
                self._watchdog.tick(self._children.values())
                self._stops.tick(self._children.values())
                self._leftovers.tick(self._children.values(), in_a_hurry=not self._boards.are_free)
                self._keeper_care.tick()
                self._greeting.tick(self._wanted)
                self._publish()
            self._end()
            return self._code
        finally:
            for child in self._all():
                child.kill("the supervisor ended")
                os.waitpid(child.pid, 0)
            if self._watcher:
                os.kill(self._watcher, signal.SIGKILL)
                os.waitpid(self._watcher, 0)
            self._signals.end()
            self._probe_sockets.remove()

    def _finished(self) -> bool:
        if self._children:
            return False
        if self._stopping_since is not None:
            return True
        return self._settings.burst and self._emptied >= self._wanted

    def _all(self) -> list[Child]:
        return [*self._children.values(), *self._keeper_care.all]

    def _wait(self) -> None:
        """Sleep until something happens; then act on signals and messages."""
        wait_for(self._all(), self._signals, TICK_INTERVAL)
        for number in self._signals.received():
            self._obey(number)
        for child in self._all():
            child.flush()
            child.words.pass_on()
            self._receive(child)
        tend()
        self._oom.tick(self._children)

    # ---- children

    def _fill(self) -> None:
        """Start the workers that are missing, later and later while they die early."""
        if self._stopping_since is not None:
            return
        counted = [child for child in self._children.values() if not child.draining and child.replaces is None]
        for child in counted[self._wanted :]:
            child.drain()
        missing = self._wanted - len(counted)
        if self._settings.burst:
            # A worker that found the queues empty went for good. One that died, perhaps before it was in service, is
            # followed once its jobs are back in them.
            missing -= self._emptied if self._ever_up else 0
            if not self._keeper_care.is_done:
                return
        for _ in range(missing):
            if self._restart_delay.is_over and self._restart_allowance.is_left:
                self._spawn()

    def _spawn(self, replaces: Child | None = None) -> None:
        board = self._boards.find(self._children.values())
        if board is None:
            return
        board.reset()

        def live(child: Child) -> int:
            self._probe_sockets.close()
            pipes, release, vitals = (child.command_end, child.report_end), self._replacements.release, self._vitals
            given = board, child.number, self._host, *pipes, child.stacks, child.words, release, vitals
            return run_worker(self._settings, WorkerResources(*given), self._preloaded)

        child = self._fork(self._count + 1, board, live, dies_with_parent=True)
        if child is None:
            self._restart_delay.died(time.monotonic())
        else:
            self._boards.take(board)
            self._count += 1
            child.replaces, child.host = replaces, self._host
            self._children[child.pid] = child

    def _fork(
        self, number: int, board: SharedBoard, live: Callable[[Child], int], *, dies_with_parent: bool
    ) -> Child | None:
        """A new process, or None when the system has no room for one."""

        def begin(child: Child) -> int:
            set_title(f"aiotask: {f'worker-{number}' if number else 'keeper'} of {' '.join(self._settings.apps)}")
            self._signals.close()
            self._bulletin.close()
            return live(child)

        others = [fd for other in self._all() for fd in other.fds]
        return start(number, board, begin, others, dies_with_parent=dies_with_parent)

    def _receive(self, child: Child) -> None:
        for message in child.receive():
            match message:
                case SnapshotRequest(request=request):
                    self._watchdog.gather(self._all(), partial(child.send_snapshot, request))
                case HostRequest():
                    child.send(self._steering.obey(message, self._children.values()))
                case Oversized(size=size):
                    self._replacements.oversize(child, size)
                case InService():
                    self._greeting.learn(message)
                    self._ever_up = self._ever_up or child.is_up

    def _update_served_apps(self) -> None:
        """What is served may change with every code that is loaded."""
        before = self._served.apps
        if (self._stopping_since is not None and before) or not self._served.tick(self._children.values()):
            return
        self._watchdog.learn(self._served.apps)
        if not before:
            self._greeting.expect(self._served.apps)
        elif changes := self._served.changes(before):
            logger.info("The running code has changed: %s.", changes)

    def _reap(self) -> None:
        for pid, look in ended_children():
            child = next((child for child in self._all() if child.pid == pid), None)
            if child is not None:
                # Until the child is reaped no other process has its number: what it started dies with it, before any
                # worker runs its jobs again.
                child.kill_group()
            starved = self._oom.explain(pid) if pid in self._children else False
            status, peak = look()
            code = os.waitstatus_to_exitcode(status)
            if pid in self._children:
                child = self._children[pid]
                self._receive(child)
                self._update_served_apps()
                del self._children[pid]
                self._died(child, Postmortem.gather(child, code, peak, out_of_memory=starved))
            elif child is not None:
                if not self._keeper_care.died(child, code):
                    self._begin_anew()
            elif pid == self._watcher:
                self._watcher = 0
                logger.error("Files are no longer watched: the watcher ended with %s.", how_it_ended(code))

    def _died(self, child: Child, facts: Postmortem) -> None:
        found = blame(facts.end, facts.started, self._signal_counts.count(facts.end, facts.started))
        for death in facts.deaths(found):
            self._keeper_care.report(death)
        self._vitals.ended(facts.why)
        child.close()
        self._boards.give_back(child.board)
        for other in self._children.values():
            if other.replaces is child:
                other.replaces = None
        if not child.booted:
            self._restart_delay.died(time.monotonic())
            self._boot_failed(child, facts.reason)
        elif found.own_fault or child.overdue:
            facts.log()
        elif child.has_gone and not child.draining and self._stopping_since is None:
            self._emptied += 1
        if child.booted and found.own_fault:
            self._restart_allowance.spend()
        if child.not_live and child.host == self._host:
            self._begin_anew()

    def _boot_failed(self, child: Child, how: str) -> None:
        if self._stopping_since is not None:
            return
        log_failed_load(child, how, ever_up=self._ever_up)
        if child.replaces is not None:
            self._replacements.give_up()
        elif not self._ever_up:
            self._code = Exit.MISUSED if child.misused else Exit.BOOT
            self._stop(now=True)

    def _begin_anew(self) -> None:
        """A peer has declared this host dead: its jobs run elsewhere too, so all its processes end and start anew."""
        logger.error("This host was declared dead; its workers are started again under a new name.")
        for child in self._all():
            child.kill("the host was declared dead")
        self._host = host_id()
        self._boards.rename(self._host)

    # ---- the operator

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(now=self._stopping_since is not None)
        elif number == signal.SIGQUIT:
            self._stop(now=True)
        elif number == signal.SIGTSTP:
            logger.info("Ctrl-Z (TSTP) does not stop the worker: its jobs would go on without a supervisor.")
        elif number == signal.SIGUSR1:
            self._watchdog.show(self._all())
        elif self._stopping_since is not None:
            return
        elif number == signal.SIGHUP and self._terminal.is_gone():
            logger.info("The terminal was closed.")
            self._stop(now=False)
        elif number == signal.SIGHUP:
            self._replacements.begin(self._children.values())
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            wanted = self._wanted + (1 if number == signal.SIGTTIN else -1)
            self._wanted = min(self._boards.most, max(1, wanted))
            logger.info("%s from now on.", counted(self._wanted, "worker process"))

    def _stop(self, *, now: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            if self._children and self._code == Exit.DONE:
                logger.info(
                    "Stopping: no more jobs are claimed; running jobs have %s to end. Signal again to stop at once.",
                    in_words(self._settings.grace),
                )
        else:
            self._keeper_care.hurry()
        for child in self._children.values():
            # A worker that still imports its app has no job that could end.
            if now or not child.booted:
                child.kill("an immediate stop")
            else:
                child.drain()

    def _end_grace(self) -> None:
        grace = self._settings.grace
        if self._stopping_since is None or time.monotonic() - self._stopping_since <= grace:
            return
        for child in [child for child in self._children.values() if not child.killed]:
            jobs = len(child.board.started())
            back = f"{counted(jobs, 'job')} {'is' if jobs == 1 else 'are'} requeued" if jobs else "no job was running"
            logger.warning("worker-%d did not end within %s; %s.", child.number, in_words(grace), back)
            child.kill("the end of the grace period")

    def _publish(self) -> None:
        self._bulletin.turn(
            self._children.values(),
            self._wanted,
            len(self._served.apps),
            rolling=self._replacements.are_due,
            stopping=self._stopping_since is not None,
        )

    def _end(self) -> None:
        """All workers have ended: the keeper gives back the jobs that they had claimed, and goes."""
        self._stopping_since = self._stopping_since or time.monotonic()
        deadline = time.monotonic() + KEEPER_TIMEOUT
        while self._served.apps and not self._keeper_care.has_left and time.monotonic() < deadline:
            self._keeper_care.fill(self._served.apps, self._host)
            self._keeper_care.leave()
            self._wait()
            self._reap()
            self._keeper_care.tick()
            self._publish()
        if self._keeper_care.is_there:
            logger.warning("The keeper could not tell the broker that this host leaves; other hosts notice in 10 s.")
        else:
            self._boards.remove()
        if self._code == Exit.DONE:
            logger.info("Stopped.")
