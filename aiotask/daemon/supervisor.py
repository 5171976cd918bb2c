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
import time
from collections import deque
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..events import announce, configure, in_words
from ..worker.inloop import host_id
from .board import Board
from .child import Exit, become_subreaper, fork, read_messages, send_message
from .keeper import Post, run_keeper
from .process import Place, run_worker
from .settings import WorkerSettings

if TYPE_CHECKING:
    from ..app import App

__all__ = ["Supervisor", "supervise"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds between two rounds of the loop, when nothing happens.
ROUND = 0.2
#: Seconds past its limit after which a job's process is killed, and without a heartbeat a keeper.
TOLERANCE = 1.0
KEEPER_SILENCE = 2.0
#: Seconds that the keeper has at the end, and that the banner waits for the broker.
FAREWELL = 12.0
BANNER_PATIENCE = 2.0
_SIGNALS = ("TERM", "INT", "HUP", "TTIN", "TTOU", "USR1", "CHLD")


def supervise(settings: WorkerSettings) -> int:
    """Run workers until told to stop; the exit code (0: drained, 3: the app could not be loaded)."""
    configure(settings.log_json, settings.log_level, process="supervisor")
    return Supervisor(settings).run()


class _Child:
    """A forked process, with the supervisor's ends of its two pipes."""

    def __init__(self, number: int, board: Board, pid: int, commands: int, reports: int) -> None:
        self.number = number
        self.board = board
        self.pid = pid
        self.commands = commands
        self.reports = reports
        self.buffer = bytearray()
        self.since = time.monotonic()
        self.booted = False
        #: Apps whose worker is in service.
        self.up: set[str] = set()
        self.failure = ""
        self.draining = False
        #: Why the supervisor killed it; and the jobs for whose limit.
        self.killed = ""
        self.overdue: dict[str, float] = {}
        #: The child that it replaces once it is in service.
        self.replaces: _Child | None = None

    def drain(self) -> None:
        if not self.draining:
            self.draining = True
            send_message(self.commands, {"do": "drain"})

    def kill(self, reason: str) -> None:
        """The process and all that it started."""
        self.killed = self.killed or reason
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        os.close(self.commands)
        os.close(self.reports)


class Supervisor:
    """Keeps ``concurrency`` worker processes and one keeper alive."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._wanted = settings.concurrency
        self._host = host_id()
        self._children: dict[int, _Child] = {}
        self._keeper: _Child | None = None
        self._keeper_board = Board(1)
        # Pages have to exist before the keeper is forked: enough for a replacement of each, and for TTIN.
        slots = settings.max_in_flight + settings.threads + 1
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
        self._respawn_at = 0.0
        self._respawn_delay = 0.1
        self._rolling: deque[_Child] = deque()
        self._deaths: deque[dict[str, Any]] = deque()
        self._watcher = 0
        self._bell, self._bell_end = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_end.setblocking(False)
        self._ended: dict[int, int] = {}

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
                self._wait()
                self._reap()
                self._roll()
                self._look_at_boards()
                self._look_at_keeper()
                self._say_banner()
            self._end()
            return self._code
        finally:
            for child in [*self._children.values(), *([self._keeper] if self._keeper else [])]:
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
            int(getattr(signal, f"SIG{name}")): signal.signal(getattr(signal, f"SIG{name}"), _recorded)
            for name in _SIGNALS
        }

    def _preload(self) -> bool:
        import threading

        from ..errors import AiotaskError
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
        return self._settings.burst and self._ever_up

    def _wait(self) -> None:
        """Sleep until something happens; then hear signals and reports."""
        fds = {child.reports: child for child in self._children.values()}
        readable, _, _ = select.select([self._bell, *fds], [], [], ROUND)
        for fd in readable:
            if fd is self._bell:
                for number in self._bell.recv(4096):
                    self._obey(number)
            else:
                self._hear(fds[fd])

    # ---- children

    def _fill(self) -> None:
        """As many workers as wanted; not faster than they live."""
        if self._stopping_since is not None or (self._settings.burst and self._ever_up):
            return
        counted = [child for child in self._children.values() if not child.draining and child.replaces is None]
        missing = self._wanted - len(counted)
        if missing > 0 and time.monotonic() >= self._respawn_at:
            for _ in range(missing):
                self._spawn()
        for child in counted[self._wanted :]:
            child.drain()

    def _spawn(self, replaces: _Child | None = None) -> None:
        if not self._free:
            return
        board = self._free.popleft()
        board.reset()
        self._count += 1
        command_end, commands = os.pipe()
        reports, report_end = os.pipe()
        os.set_blocking(command_end, False)
        place = Place(board, self._count, self._host, command_end, report_end)
        others = [
            fd
            for child in (*self._children.values(), *([self._keeper] if self._keeper else []))
            for fd in (child.commands, child.reports)
        ]

        def live() -> int:
            # Ends of other pipes that stay open here would hide the death of their owner.
            for fd in (*others, commands, reports, self._bell.fileno(), self._bell_end.fileno()):
                with contextlib.suppress(OSError):
                    os.close(fd)
            self._bell.detach()
            self._bell_end.detach()
            return run_worker(self._settings, place, self._preloaded)

        pid = fork(live, dies_with_parent=True)
        os.close(command_end)
        os.close(report_end)
        child = _Child(self._count, board, pid, commands, reports)
        child.replaces = replaces
        self._children[pid] = child

    def _hear(self, child: _Child) -> None:
        try:
            data = os.read(child.reports, 65536)
        except OSError:
            data = b""
        if not data:
            return
        for message in read_messages(child.buffer, data):
            if "booted" in message:
                child.booted = True
                if not self._apps:
                    self._apps = message["booted"]
                    self._banner_at = time.monotonic() + BANNER_PATIENCE
                    self._start_keeper()
            elif "up" in message:
                child.up.add(message["up"])
                self._facts.setdefault(message["up"], message)
                if len(child.up) == len(self._apps):
                    self._ever_up = True
            elif "failed" in message:
                child.failure = message["failed"]
            elif "full" in message and not child.draining and self._stopping_since is None:
                self._spawn(replaces=child)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._keeper is not None and pid == self._keeper.pid:
                self._keeper_died(status)
            elif pid in self._children:
                self._died(self._children.pop(pid), status)

    def _died(self, child: _Child, status: int) -> None:
        self._hear(child)
        how = _how(status, child)
        # What it started dies with it, before anybody runs its jobs again.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        started = child.board.started()
        own_fault = not child.killed and status != 0 and os.waitstatus_to_exitcode(status) != Exit.NOT_LIVE
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
        if not child.booted:
            self._boot_failed(child, how)
        elif own_fault or child.overdue:
            running = f" while it ran {', '.join(job.id for job in started[:5])}" if started else ""
            logger.warning("worker-%d (pid %d) ended by %s%s.", child.number, child.pid, how, running)
        if own_fault and time.monotonic() - child.since < 1.0:
            self._respawn_at = time.monotonic() + self._respawn_delay
            self._respawn_delay = min(self._respawn_delay * 2, 10.0)
        else:
            self._respawn_delay = 0.1

    def _boot_failed(self, child: _Child, how: str) -> None:
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

    def _start_keeper(self) -> None:
        self._keeper_board.reset()
        self._keeper_board.beat()
        message_end, messages = os.pipe()
        others = [fd for child in self._children.values() for fd in (child.commands, child.reports)]
        post = Post(self._keeper_board, self._boards, self._host, message_end, self._apps)

        def live() -> int:
            for fd in (*others, messages, self._bell.fileno(), self._bell_end.fileno()):
                with contextlib.suppress(OSError):
                    os.close(fd)
            self._bell.detach()
            self._bell_end.detach()
            return run_keeper(self._settings, post)

        pid = fork(live, dies_with_parent=False)
        os.close(message_end)
        self._keeper = _Child(0, self._keeper_board, pid, messages, os.open(os.devnull, os.O_RDONLY))
        for death in self._deaths:
            send_message(messages, {"death": death})

    def _report_death(self, death: dict[str, Any]) -> None:
        # Remembered for a while: a keeper that dies now has a successor that must hear of it.
        self._deaths.append(death)
        while len(self._deaths) > 4 * len(self._boards):
            self._deaths.popleft()
        if self._keeper is not None:
            send_message(self._keeper.commands, {"death": death})

    def _keeper_died(self, status: int) -> None:
        assert self._keeper is not None
        keeper, self._keeper = self._keeper, None
        code = os.waitstatus_to_exitcode(status)
        keeper.close()
        if self._stopping_since is not None and not self._children:
            return
        if code == Exit.NOT_LIVE:
            logger.error("This host was declared dead; its workers start anew under another name.")
            for child in self._children.values():
                child.kill("the host was declared dead")
            self._host = host_id()
        else:
            logger.warning("The keeper (pid %d) ended by %s; a new one takes over.", keeper.pid, _how(status, keeper))
        self._start_keeper()

    def _look_at_keeper(self) -> None:
        keeper = self._keeper
        if keeper is None or keeper.killed:
            return
        if time.monotonic() - max(self._keeper_board.heartbeat, keeper.since) > KEEPER_SILENCE:
            keeper.kill(f"silence of more than {KEEPER_SILENCE:g} s")

    def _look_at_boards(self) -> None:
        """Kill what runs past its limit: the job did not react, or holds the GIL."""
        now = time.monotonic()
        for child in self._children.values():
            if child.killed:
                continue
            overdue = child.board.overdue(now, TOLERANCE)
            if overdue:
                child.overdue = {job.id: job.again for job in overdue}
                child.kill("a job past its time limit")

    # ---- the operator

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(now=self._stopping_since is not None)
        elif number == signal.SIGHUP and self._stopping_since is None:
            if self._settings.preload:
                logger.warning("The app was preloaded, so replaced processes run the same code as before.")
            else:
                logger.info("Replacing the worker processes one by one.")
            self._rolling = deque(child for child in self._children.values() if not child.draining)
        elif number in (signal.SIGTTIN, signal.SIGTTOU) and self._stopping_since is None:
            most = len(self._boards) // 2
            self._wanted = min(most, max(1, self._wanted + (1 if number == signal.SIGTTIN else -1)))
            logger.info("%d worker processes from now on.", self._wanted)
        elif number == signal.SIGUSR1:
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGUSR1)

    def _stop(self, *, now: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            if self._children and self._code == Exit.DONE:
                logger.info(
                    "Stopping: no more jobs are claimed, running ones have %s. Again to stop now.",
                    in_words(self._settings.grace),
                )
        for child in self._children.values():
            if now:
                child.kill("a stop that could not wait")
            else:
                child.drain()

    def _roll(self) -> None:
        """A rolling replacement: the new process in service before the old one is asked to go."""
        if self._stopping_since is not None:
            if time.monotonic() - self._stopping_since > self._settings.grace:
                for child in self._children.values():
                    if not child.killed:
                        running = child.board.started()
                        logger.warning(
                            "worker-%d did not end within %s; %d jobs go back.",
                            child.number,
                            in_words(self._settings.grace),
                            len(running),
                        )
                        child.kill("the end of the grace time")
            return
        newcomers = [child for child in self._children.values() if child.replaces is not None]
        for child in newcomers:
            if child.up and len(child.up) == len(self._apps):
                assert child.replaces is not None
                child.replaces.drain()
                child.replaces = None
        if self._rolling and not newcomers:
            old = self._rolling.popleft()
            if old.pid in self._children and not old.draining:
                self._spawn(replaces=old)

    def _watch_files(self) -> None:
        from .reload import watch

        parent = os.getpid()
        self._watcher = fork(lambda: watch(self._settings.app_dir, parent), dies_with_parent=True)

    # ---- saying

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
        keeper = self._keeper
        if keeper is not None:
            self._stopping_since = self._stopping_since or time.monotonic()
            send_message(keeper.commands, {"leave": list(self._deaths)})
            deadline = time.monotonic() + FAREWELL
            while self._keeper is not None and time.monotonic() < deadline:
                self._reap()
                if self._keeper is not None:
                    select.select([self._bell], [], [], 0.05)
                    with contextlib.suppress(BlockingIOError):
                        self._bell.recv(4096)
        if self._code == Exit.DONE:
            logger.info("Stopped.")


def _recorded(number: int, frame: object) -> None:
    """The number is in the wake-up socket already."""


def _how(status: int, child: _Child) -> str:
    """How a process ended, for people."""
    code = os.waitstatus_to_exitcode(status)
    if child.killed:
        return child.killed
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    hint = ", likely out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}{hint})"
