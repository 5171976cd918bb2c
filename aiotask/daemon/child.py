"""A forked process as its supervisor sees it: process id, pipes, page, stacks, and what is known of its state."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence

from .app_facts import AppFacts
from .board import SharedBoard, Started
from .fork import fork
from .messages import (
    Booted,
    DeclaredDead,
    Done,
    Drain,
    DumpStacks,
    InService,
    Keeping,
    LoadFailed,
    LoopBroke,
    Message,
    ProcessState,
    Snapshot,
    SuspendedJob,
    SuspendedJobs,
    WantsReplacement,
    encode,
    read_messages,
)
from .signals import Signals
from .watch.excess import excesses
from .watch.stack_file import Stacks, catches
from .watch.stderr_file import LastWords

__all__ = ["Child", "start", "wait_for"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds past its limit after which a job's process is killed.
LIMIT_TOLERANCE = 1.0
#: Seconds that writing down its stacks takes a process, and seconds that one past a limit is given for it.
DUMP_TIME = 0.05
DUMP_TIMEOUT = 0.5
_LIMITS = {
    "time": "a job past its time limit",
    "cancel": "a cancelled job that did not react",
    "cpu": "a job past its CPU time limit",
    "memory": "a job past its memory limit",
}


class Child:
    """One worker process or keeper, with the supervisor's ends of its two pipes.

    Neither reading nor writing ever waits: the process may be stopped, and what it started may keep
    its ends open.
    """

    def __init__(self, number: int, board: SharedBoard) -> None:
        self.number = number
        self.board = board
        self.stacks = Stacks()
        self.words = LastWords()
        self.pid = 0
        self.since = time.monotonic()
        #: The child's ends, which the parent closes once it is forked.
        self.command_end, self.commands = os.pipe()
        try:
            self.reports, self.report_end = os.pipe()
        except OSError:
            os.close(self.command_end)
            os.close(self.commands)
            raise
        for fd in (self.command_end, self.commands, self.reports):
            os.set_blocking(fd, False)
        self._received = bytearray()
        self.unsent = bytearray()
        #: Whether the process has closed its end of the pipes.
        self.is_closed = False
        #: Whether a worker has loaded its apps, or a keeper is at work.
        self.booted = False
        #: Facts of the units that a worker has loaded, and labels of those that it serves.
        self.apps: list[AppFacts] = []
        self.up: set[str] = set()
        #: Why a worker could not load its apps; and whether that is because of a wrong setting.
        self.failure = ""
        self.misused = False
        #: The error that has left the event loop of a worker; empty: none has.
        self.loop_error = ""
        #: Where the async jobs of a worker wait; None: it was not asked, or has not answered.
        self.suspended: list[SuspendedJob] | None = None
        self.draining = False
        #: Whether a worker wants to be replaced; bytes that it has grown to, if that is why (else 0), and bytes before
        #: its first job.
        self.wants_replacement = False
        self.size = self.size_at_first = 0
        #: Since when a worker has nothing left to do (monotonic seconds; 0: it has), and what jobs left behind there.
        self.done_since = 0.0
        self.leftovers: list[str] = []
        #: The host that a worker belongs to; and whether the broker has declared the worker dead.
        self.host = ""
        self.not_live = False
        #: Why the supervisor killed the process; and by id of a job for whose limit: seconds until its next run.
        self.killed = ""
        self.overdue: dict[str, float] = {}
        #: Where it was not a time limit: of what (``cpu``, ``memory``), and the excess in words.
        self.exceeded: dict[str, tuple[str, str]] = {}
        #: When the process was asked for its stacks (monotonic seconds); 0: it was not.
        self.asked_for_stacks = 0.0
        #: The worker that this one replaces once it is in service.
        self.replaces: Child | None = None

    @property
    def is_up(self) -> bool:
        """Whether a worker serves all its apps."""
        return bool(self.apps) and self.up >= {app.label for app in self.apps}

    @property
    def has_gone(self) -> bool:
        """Whether the process ended, or was killed, because it had nothing left to do."""
        return bool(self.done_since) or not (self.killed or self.not_live)

    @property
    def title(self) -> str:
        """The name of a worker for people."""
        return f"worker-{self.number} (pid {self.pid})"

    @property
    def fds(self) -> tuple[int, ...]:
        """The file descriptors that a sibling must close: open, they would hide the death of their owner."""
        return self.commands, self.reports, self.stacks.fd, self.words.fd

    def begin(self, pid: int) -> None:
        """The process has been forked.

        Args:
            pid: 0: it could not be forked.
        """
        self.pid = pid
        if pid:
            # The child does so too; whichever comes first, the group exists before it is ever killed.
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
        os.close(self.command_end)
        os.close(self.report_end)

    # ---- messages

    def send(self, message: Message) -> None:
        if self.commands >= 0:
            self.unsent += encode(message)
            self.flush()

    def flush(self) -> None:
        """Write what the pipe takes now."""
        while self.unsent:
            try:
                written = os.write(self.commands, self.unsent)
            except BlockingIOError:
                return
            except OSError:
                self.unsent.clear()
                return
            del self.unsent[:written]

    def receive(self) -> list[Message]:
        """The messages that the process has sent since the last call."""
        messages: list[Message] = []
        while not self.is_closed:
            try:
                data = os.read(self.reports, 65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if data:
                messages += read_messages(self._received, data)
            else:
                self.is_closed = True
        for message in messages:
            self._apply(message)
        return messages

    def _apply(self, message: Message) -> None:
        match message:
            case Booted(apps=apps):
                self.booted = True
                self.apps = apps
            case Keeping():
                self.booted = True
            case InService(app=app):
                self.up.add(app)
                self.since = time.monotonic()
            case LoadFailed(reason=reason, misused=misused):
                self.failure, self.misused = reason, misused
            case WantsReplacement(size=size, size_at_first=size_at_first):
                self.wants_replacement = True
                self.size, self.size_at_first = size, size_at_first
            case Done(leftovers=leftovers):
                self.done_since = time.monotonic()
                self.leftovers = leftovers
            case LoopBroke(error=error):
                self.loop_error = error
            case SuspendedJobs(jobs=jobs):
                self.suspended = jobs
            case DeclaredDead():
                self.not_live = True

    # ---- stacks

    def ask_for_stacks(self) -> None:
        """Have the process write down its stacks, which it does unless it is stopped."""
        self.stacks.take()
        self.asked_for_stacks = time.monotonic()
        if not catches(signal.SIGUSR1, self.pid):
            # User code has given the signal back to the system, which would end the process. The loop does it, too.
            self.send(DumpStacks())
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)

    @property
    def has_written_stacks(self) -> bool:
        """Whether the stacks are there."""
        return self.stacks.written and time.monotonic() - self.asked_for_stacks >= DUMP_TIME

    def send_snapshot(self, request: str, processes: list[ProcessState]) -> None:
        """Answer the keeper, which asked what every process is doing."""
        self.send(Snapshot(request, processes))

    def take_stacks(self) -> str:
        self.asked_for_stacks = 0.0
        return self.stacks.take()

    # ---- the end

    def enforce_limits(self, started: Sequence[Started]) -> None:
        """Kill the process if one of these jobs is past a limit: the job did not react, or it holds the GIL."""
        found = {} if self.killed else excesses(self.pid, started, time.monotonic(), LIMIT_TOLERANCE)
        greedy = any(each.kind == "memory" for each in found.values())
        if not found:
            if time.monotonic() - self.asked_for_stacks > 2 * DUMP_TIMEOUT:
                self.asked_for_stacks = 0.0
        elif not greedy and not self.asked_for_stacks:
            # First the stacks, which the process can write down whatever it does.
            self.ask_for_stacks()
        elif greedy or self.has_written_stacks or time.monotonic() - self.asked_for_stacks >= DUMP_TIMEOUT:
            # A job past its memory limit does not get the time to take more.
            self.overdue = {id: each.again for id, each in found.items()}
            used_up = {id: each for id, each in found.items() if each.kind in ("cpu", "memory")}
            self.exceeded = {id: (each.kind, each.words) for id, each in used_up.items()}
            kinds = sorted({each.kind for each in found.values()})
            self.kill(" and ".join(_LIMITS[kind] for kind in kinds))

    def drain(self) -> None:
        """Ask the worker to end the jobs that run, and go."""
        if not self.draining:
            self.draining = True
            self.send(Drain())

    def kill(self, reason: str) -> None:
        """Kill the process and all processes that it has started."""
        self.killed = self.killed or reason
        self.kill_group()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill all processes that the process has started and that are in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """The process has been reaped, and its number may soon be another one's: close what belonged to it."""
        self.board.settle_in(0)
        os.close(self.commands)
        os.close(self.reports)
        self.commands = self.reports = -1
        self.is_closed = True
        self.unsent.clear()
        self.stacks.close()
        self.words.close()
        self.asked_for_stacks = 0.0


def start(
    number: int,
    board: SharedBoard,
    live: Callable[[Child], int],
    others: Sequence[int],
    *,
    dies_with_parent: bool,
) -> Child | None:
    """Fork a process that does ``live``; None, which is logged, when the system has no room for one.

    Args:
        others: file descriptors of its siblings, which it closes.
    """
    made = None
    try:
        made = child = Child(number, board)

        def begin() -> int:
            for fd in (*others, child.commands, child.reports):
                os.close(fd)
            return live(child)

        child.begin(fork(begin, dies_with_parent=dies_with_parent))
    except OSError as error:
        logger.error("No new process could be started; trying again: %s", error)
        if made is not None:
            made.begin(0)
            made.close()
        return None
    board.settle_in(child.pid)
    return child


def wait_for(children: Sequence[Child], signals: Signals, seconds: float) -> None:
    """Sleep until a signal or a message comes, or a pipe has room for the rest of what is to be sent."""
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    for child in children:
        if not child.is_closed:
            poll.register(child.reports, select.POLLIN)
        if child.unsent:
            poll.register(child.commands, select.POLLOUT)
    soon = any(child.asked_for_stacks for child in children)
    poll.poll((DUMP_TIME if soon else seconds) * 1000)
