"""The supervisor: forks workers and the keeper, notices deaths, passes on the operator's will.

Single-threaded; it runs no user code and owns no event loop and no connection. Handlers only record,
the loop acts.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import platform
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..errors import AiotaskError
from ..events import announce, configure, in_words
from ..worker.inloop import host_id
from ..worker.seats import AWAY
from .board import Board
from .child import Exit, become_subreaper, fork, unheard
from .forked import Forked
from .keeper import Post, run_keeper
from .process import Place, run_worker
from .settings import WorkerSettings
from .stacks import where

if TYPE_CHECKING:
    from ..app import App

__all__ = ["Supervisor", "supervise"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds between two rounds of the loop, when nothing happens.
ROUND = 0.2
#: Seconds past its limit after which a job's process is killed, and without a heartbeat a keeper.
TOLERANCE = 1.0
KEEPER_SILENCE = 2.0
#: Seconds that writing down its stacks takes a process at least, and that it gets for it.
DUMP = 0.05
DUMP_PATIENCE = 0.5
#: Seconds that the keeper has at the end, and that the banner waits for the broker.
FAREWELL = 12.0
BANNER_PATIENCE = 2.0
#: A keeper that dies within this many seconds of its start is followed with a delay.
PROBATION = 1.0
_SIGNALS = ("TERM", "INT", "HUP", "TTIN", "TTOU", "USR1", "CHLD")


def supervise(settings: WorkerSettings) -> int:
    """Run workers until told to stop; the exit code (0: drained, 3: the app could not be loaded)."""
    configure(settings.log_json, settings.log_level, process="supervisor")
    return Supervisor(settings).run()


class _Patience:
    """When the next process may follow one that died: at once, or later and later while they die early."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._delay = 0.0
        self._until = 0.0

    def lost(self, since: float) -> None:
        """One that has been in service since then has died."""
        now = time.monotonic()
        self._delay = min(max(self._delay * 2, 0.1), self._limit) if now - since < PROBATION else 0.0
        self._until = now + self._delay

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._until


class _Allowance:
    """Deaths that are followed at once: some, and then so many a second; a job that kills costs three."""

    def __init__(self, some: float, per_second: float) -> None:
        self._some = self._left = some
        self._per_second = per_second
        self._since = time.monotonic()

    def spend(self) -> None:
        """A process has died."""
        self._left = self._now() - 1.0
        self._since = time.monotonic()

    def _now(self) -> float:
        return min(self._some, self._left + self._per_second * (time.monotonic() - self._since))

    @property
    def is_left(self) -> bool:
        return self._now() >= 0.0


class Supervisor:
    """Keeps ``concurrency`` worker processes and one keeper alive."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._wanted = settings.concurrency
        self._host = host_id()
        self._children: dict[int, Forked] = {}
        self._keeper: Forked | None = None
        self._keeper_board = Board(1)
        # Pages have to exist before the keeper is forked: enough for a replacement of each, and for TTIN.
        slots = settings.max_in_flight + AWAY + settings.threads
        self._boards = [Board(slots) for _ in range(2 * settings.concurrency + 16)]
        self._free = deque(self._boards)
        self._count = 0
        self._apps: list[dict[str, Any]] = []
        self._preloaded: Sequence[App] | None = None
        self._facts: dict[str, dict[str, Any]] = {}
        self._banner_at: float | None = None
        self._stopping_since: float | None = None
        self._code = Exit.DONE
        self._ever_up = False
        #: Workers of a burst that found their queues empty and went.
        self._emptied = 0
        self._worker_patience = _Patience(10.0)
        self._allowance = _Allowance(10.0 * settings.concurrency, 1.0 * settings.concurrency)
        self._keeper_patience = _Patience(5.0)
        self._rolling: deque[Forked] = deque()
        self._deaths: deque[dict[str, Any]] = deque()
        self._told = 0
        self._leaving: Forked | None = None
        self._leaving_since = 0.0
        self._left = False
        self._stacks_asked: float | None = None
        self._watcher = 0
        self._bell, self._bell_end = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_end.setblocking(False)

    # ---- the loop

    def run(self) -> int:
        """Until stopped and drained."""
        before = self._listen()
        try:
            if self._settings.preload and not self._preload():
                return Exit.BOOT
            gc.collect()
            gc.freeze()
            if self._settings.reload:
                self._watch_files()
            while not self._finished():
                self._fill()
                self._fill_keeper()
                self._wait()
                self._reap()
                self._roll()
                self._end_grace()
                self._look_at_boards()
                self._look_at_keeper()
                self._show_stacks()
                self._say_banner()
            self._end()
            return self._code
        finally:
            for child in self._all():
                child.kill("the supervisor ended")
            if self._watcher:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._watcher, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _listen(self) -> dict[int, Any]:
        become_subreaper()
        signal.set_wakeup_fd(self._bell_end.fileno(), warn_on_full_buffer=False)
        # The handlers do nothing: a byte with the number of the signal is in the socket by then.
        return {
            int(getattr(signal, f"SIG{name}")): signal.signal(getattr(signal, f"SIG{name}"), unheard)
            for name in _SIGNALS
        }

    def _preload(self) -> bool:
        import threading

        from ..importer import load_apps

        try:
            self._preloaded = load_apps(self._settings.apps, self._settings.app_dir)
        except AiotaskError as error:
            logger.error("The app could not be loaded. %s", error)
            return False
        if threading.active_count() > 1:
            logger.error(
                "The app started a thread while it was imported, and threads do not survive a fork. "
                "Leave --preload out, or start it later."
            )
            return False
        return True

    def _finished(self) -> bool:
        if self._children:
            return False
        if self._stopping_since is not None:
            return True
        return self._settings.burst and self._emptied >= self._wanted

    def _all(self) -> list[Forked]:
        return [*self._children.values(), *([self._keeper] if self._keeper else [])]

    def _wait(self) -> None:
        """Sleep until something happens; then hear signals and reports."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        for child in self._all():
            if not child.deaf:
                poll.register(child.reports, select.POLLIN)
            if child.unsent:
                poll.register(child.commands, select.POLLOUT)
        soon = self._stacks_asked is not None or any(child.overdue_since for child in self._all())
        poll.poll((DUMP if soon else ROUND) * 1000)
        with contextlib.suppress(BlockingIOError):
            for number in self._bell.recv(4096):
                self._obey(number)
        for child in self._all():
            child.flush()
            self._hear(child)

    # ---- children

    def _fill(self) -> None:
        """As many workers as wanted; not faster than they live."""
        if self._stopping_since is not None:
            return
        counted = [child for child in self._children.values() if not child.draining and child.replaces is None]
        for child in counted[self._wanted :]:
            child.drain()
        missing = self._wanted - len(counted)
        if self._settings.burst and self._ever_up:
            # Who found the queues empty went for good. Who died is followed, once its jobs are back in them.
            missing -= self._emptied
            if self._keeper is None or self._keeper_board.buried < self._told:
                return
        for _ in range(missing):
            if self._worker_patience.over and self._allowance.is_left:
                self._spawn()

    def _spawn(self, replaces: Forked | None = None) -> None:
        if not self._free:
            return
        board = self._free[0]
        board.reset()

        def live(child: Forked) -> int:
            place = Place(board, child.number, self._host, child.command_end, child.report_end, child.stacks)
            return run_worker(self._settings, place, self._preloaded)

        child = self._fork(self._count + 1, board, live, self._worker_patience, dies_with_parent=True)
        if child is not None:
            self._free.popleft()
            self._count += 1
            child.replaces = replaces
            self._children[child.pid] = child

    def _fork(
        self,
        number: int,
        board: Board,
        live: Callable[[Forked], int],
        patience: _Patience,
        *,
        dies_with_parent: bool,
    ) -> Forked | None:
        """A new process, or None and a delay when the system has no room for one."""
        child = None
        try:
            child = forked = Forked(number, board)
            # Ends of other pipes that stay open in it would hide the death of their owner.
            others = [fd for other in self._all() for fd in other.fds] + [child.commands, child.reports]

            def begin() -> int:
                for fd in others:
                    os.close(fd)
                self._bell.close()
                self._bell_end.close()
                return live(forked)

            child.begin(fork(begin, dies_with_parent=dies_with_parent))
        except OSError as error:
            logger.error("No new process could be started, trying again: %s", error)
            patience.lost(time.monotonic())
            if child is not None:
                child.begin(0)
                child.close()
            return None
        board.settle_in(child.pid)
        return child

    def _hear(self, child: Forked) -> None:
        for message in child.hear():
            if "booted" in message:
                child.booted = True
                if not self._apps:
                    self._apps = message["booted"]
                    self._banner_at = time.monotonic() + BANNER_PATIENCE
            elif "up" in message:
                child.up.add(message["up"])
                child.since = time.monotonic()
                self._facts.setdefault(message["up"], message)
                if len(child.up) == len(self._apps):
                    self._ever_up = True
            elif "failed" in message:
                child.failure = message["failed"]
            elif "full" in message:
                child.full = True
            elif "not_live" in message:
                child.not_live = True

    def _reap(self) -> None:
        for pid, look in self._dead():
            child = self._children.get(pid)
            if child is not None:
                # While it is not reaped its number is nobody else's: what it started dies with it, before
                # anybody runs its jobs again.
                child.kill_group()
            elif self._keeper is not None and pid == self._keeper.pid:
                self._keeper.kill_group()
            code = os.waitstatus_to_exitcode(look())
            if child is not None:
                del self._children[pid]
                self._died(child, code)
            elif self._keeper is not None and pid == self._keeper.pid:
                self._keeper_died(code)
            elif pid == self._watcher:
                self._watcher = 0
                logger.error("Files are not watched any more: the watcher ended by %s.", _how(code))

    @staticmethod
    def _dead() -> Iterator[tuple[int, Callable[[], int]]]:
        """Every child that has ended, also those of dead children; each is reaped when asked for its status."""
        with contextlib.suppress(ChildProcessError):
            while sys.platform != "darwin":
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return
                yield ended.si_pid, partial(_reaped, ended.si_pid)
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                yield pid, partial(int, status)

    def _died(self, child: Forked, code: int) -> None:
        self._hear(child)
        started = child.board.started()
        dump = child.stacks.take()
        how = child.killed or _how(code)
        if place := where(dump):
            how += f" in {place}"
        own_fault = not child.killed and not child.not_live and (code != 0 or bool(started))
        for name in child.board.incarnations:
            self._report_death(
                {
                    "incarnation": name,
                    "reason": how,
                    "blame": [job.id for job in started] if own_fault else [],
                    "overdue": child.overdue,
                }
            )
        child.close()
        self._free.append(child.board)
        for other in self._children.values():
            if other.replaces is child:
                other.replaces = None
        if not child.booted:
            self._boot_failed(child, how)
        elif own_fault or child.overdue:
            running = f" while it ran {', '.join(job.id for job in started[:5])}" if started else ""
            logger.warning("worker-%d (pid %d) ended by %s%s.", child.number, child.pid, how, running)
            if dump:
                logger.warning("The stacks of worker-%d (pid %d):\n%s", child.number, child.pid, dump)
        elif not child.killed and not child.draining and self._stopping_since is None:
            self._emptied += 1
        if not child.booted:
            self._worker_patience.lost(time.monotonic())
        elif own_fault:
            self._allowance.spend()

    def _boot_failed(self, child: Forked, how: str) -> None:
        reason = child.failure or f"it ended by {how} while it was imported"
        if self._stopping_since is not None:
            return
        if child.replaces is not None:
            logger.error("The new code does not load, so the old processes stay. %s", reason)
            self._rolling.clear()
        elif self._ever_up:
            logger.error("A new worker could not load the app, trying again: %s", reason)
        else:
            logger.error("The app could not be loaded. %s", reason)
            self._code = Exit.BOOT
            self._stop(now=True)

    # ---- the keeper

    def _fill_keeper(self) -> None:
        if self._keeper is not None or not self._apps or not self._keeper_patience.over:
            return
        board = self._keeper_board
        board.reset()

        def live(keeper: Forked) -> int:
            os.close(keeper.report_end)
            return run_keeper(
                self._settings, Post(board, self._boards, self._host, keeper.command_end, self._apps, keeper.stacks)
            )

        self._keeper = self._fork(0, board, live, self._keeper_patience, dies_with_parent=False)
        self._told = 0
        if self._keeper is not None:
            for death in self._deaths:
                self._tell(self._keeper, death)

    def _tell(self, keeper: Forked, death: dict[str, Any]) -> None:
        self._told += 1
        keeper.send({"death": death})

    def _report_death(self, death: dict[str, Any]) -> None:
        # Remembered for a while: a keeper that dies now has a successor that must hear of it.
        self._deaths.append(death)
        while len(self._deaths) > 4 * len(self._boards):
            self._deaths.popleft()
        if self._keeper is not None:
            self._tell(self._keeper, death)

    def _keeper_died(self, code: int) -> None:
        assert self._keeper is not None
        keeper, self._keeper = self._keeper, None
        how = keeper.killed or _how(code)
        dump = keeper.stacks.take()
        keeper.close()
        if code == Exit.DONE and keeper is self._leaving:
            self._left = True
            return
        if code == Exit.NOT_LIVE:
            logger.error("This host was declared dead; its workers start anew under another name.")
            for child in self._children.values():
                child.kill("the host was declared dead")
            self._host = host_id()
        else:
            logger.warning("The keeper (pid %d) ended by %s; a new one takes over.", keeper.pid, how)
            if dump:
                logger.warning("The stacks of the keeper (pid %d):\n%s", keeper.pid, dump)
        self._keeper_patience.lost(keeper.since)

    def _look_at_keeper(self) -> None:
        keeper = self._keeper
        if keeper is None or keeper.killed:
            return
        if time.monotonic() - self._keeper_board.heartbeat > KEEPER_SILENCE:
            keeper.kill(f"silence of more than {KEEPER_SILENCE:g} s")

    def _look_at_boards(self) -> None:
        """Kill what runs past its limit: the job did not react, or holds the GIL."""
        now = time.monotonic()
        for child in self._children.values():
            if child.killed:
                continue
            overdue = child.board.overdue(now, TOLERANCE)
            if not overdue:
                child.overdue_since = 0.0
            elif not child.overdue_since:
                # First where it hangs, which it can tell whatever it does.
                child.overdue_since = now
                self._ask_for_stacks(child)
            elif now - child.overdue_since >= (DUMP if child.stacks.written else DUMP_PATIENCE):
                child.overdue = {job.id: job.again for job in overdue}
                child.kill("a job past its time limit")

    # ---- the operator

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(now=self._stopping_since is not None)
        elif number == signal.SIGUSR1:
            for child in self._all():
                self._ask_for_stacks(child)
            self._stacks_asked = time.monotonic()
        elif self._stopping_since is not None:
            return
        elif number == signal.SIGHUP:
            if self._settings.preload:
                logger.warning("The app was preloaded, so replaced processes run the same code as before.")
            else:
                logger.info("Replacing the worker processes one by one.")
            self._rolling = deque(child for child in self._children.values() if not child.draining)
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            most = len(self._boards) // 2
            self._wanted = min(most, max(1, self._wanted + (1 if number == signal.SIGTTIN else -1)))
            logger.info("%d worker processes from now on.", self._wanted)

    def _stop(self, *, now: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            if self._children and self._code == Exit.DONE:
                logger.info(
                    "Stopping: no more jobs are claimed, running ones have %s. Again to stop now.",
                    in_words(self._settings.grace),
                )
        elif self._leaving is not None and time.monotonic() - self._leaving_since > KEEPER_SILENCE:
            # The broker does not answer, and somebody has said again that this should end.
            self._left = True
        for child in self._children.values():
            if now:
                child.kill("a stop that could not wait")
            else:
                child.drain()

    def _end_grace(self) -> None:
        if self._stopping_since is None or time.monotonic() - self._stopping_since <= self._settings.grace:
            return
        for child in self._children.values():
            if not child.killed:
                logger.warning(
                    "worker-%d did not end within %s; %d jobs go back.",
                    child.number,
                    in_words(self._settings.grace),
                    len(child.board.started()),
                )
                child.kill("the end of the grace time")

    def _roll(self) -> None:
        """Replacements: each new process in service before the old one is asked to go."""
        if self._stopping_since is not None:
            return
        newcomers = [child for child in self._children.values() if child.replaces is not None]
        for child in newcomers:
            if child.up and len(child.up) == len(self._apps):
                assert child.replaces is not None
                child.replaces.drain()
                child.replaces = None
        if not self._worker_patience.over:
            return
        replaced = [child.replaces for child in newcomers]
        for child in list(self._children.values()):
            if child.full and not child.draining and child not in replaced:
                self._spawn(replaces=child)
        while self._rolling and not newcomers and self._free:
            old = self._rolling.popleft()
            if self._children.get(old.pid) is old and not old.draining:
                self._spawn(replaces=old)
                return

    def _watch_files(self) -> None:
        from .reload import check, watch

        check()
        parent = os.getpid()
        self._watcher = fork(lambda: watch(self._settings.app_dir, parent), dies_with_parent=True)

    # ---- saying

    def _ask_for_stacks(self, child: Forked) -> None:
        child.stacks.take()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGUSR1)

    def _show_stacks(self) -> None:
        if self._stacks_asked is None:
            return
        passed = time.monotonic() - self._stacks_asked
        if passed < (DUMP if all(child.stacks.written for child in self._all()) else DUMP_PATIENCE):
            return
        self._stacks_asked = None
        for child in self._all():
            name = f"worker-{child.number}" if child.number else "the keeper"
            logger.warning("The stacks of %s (pid %d):\n%s", name, child.pid, child.stacks.take() or "(no answer)")

    def _say_banner(self) -> None:
        if self._banner_at is None:
            return
        if len(self._facts) < len(self._apps) and time.monotonic() < self._banner_at:
            return
        self._banner_at = None
        announce(
            {
                "version": metadata.version("aiotask"),
                "python": platform.python_version(),
                "processes": self._wanted,
                "result_db": self._apps[0]["result_db"],
                "apps": [
                    {
                        "name": app["name"],
                        "url": app["url"],
                        "server": self._facts.get(app["name"], {}).get("server") or "not reachable yet",
                        "durability": self._facts.get(app["name"], {}).get("durability", ""),
                        "tasks": app["tasks"],
                        "queues": app["queues"],
                        "pending": self._facts.get(app["name"], {}).get("pending", 0),
                    }
                    for app in self._apps
                ],
            }
        )
        for facts in self._facts.values():
            for warning in facts["warnings"]:
                logger.warning("%s", warning)

    def _end(self) -> None:
        """All workers are gone: the keeper gives back what they held, and goes."""
        self._stopping_since = self._stopping_since or time.monotonic()
        deadline = time.monotonic() + FAREWELL
        while self._apps and not self._left and time.monotonic() < deadline:
            self._fill_keeper()
            if self._keeper is not None and self._leaving is not self._keeper:
                self._leaving = self._keeper
                self._leaving_since = time.monotonic()
                self._keeper.send({"leave": list(self._deaths)})
            self._wait()
            self._reap()
            self._look_at_keeper()
        if self._keeper is not None:
            logger.warning("The keeper could not tell the broker that this host leaves; others will notice in 10 s.")
        if self._code == Exit.DONE:
            logger.info("Stopped.")


def _reaped(pid: int) -> int:
    """The wait status of a child that has ended."""
    return os.waitpid(pid, 0)[1]


def _how(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    hint = ", likely out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}{hint})"
