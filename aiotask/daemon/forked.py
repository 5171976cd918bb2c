"""A forked process as its supervisor sees it: process id, pipes, page, stacks, and what is known of its state."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from .board import Board
from .child import encode_message, fork, read_messages
from .stacks import Stacks

__all__ = ["DUMP", "Forked", "how_it_ended", "start"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds past its limit after which a job's process is killed.
TOLERANCE = 1.0
#: Seconds that writing down its stacks takes a process at least, and that it gets for it.
DUMP = 0.05
DUMP_PATIENCE = 0.5


class Forked:
    """One worker process or keeper, with the supervisor's ends of its two pipes.

    Neither reading nor writing ever waits: the process may be stopped, and what it started may hold
    its ends open.
    """

    def __init__(self, number: int, board: Board) -> None:
        self.number = number
        self.board = board
        self.stacks = Stacks()
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
        #: It reads and is read no more.
        self.deaf = False
        self.booted = False
        #: Apps whose worker is in service.
        self.up: set[str] = set()
        self.failure = ""
        self.draining = False
        #: It wants to be replaced.
        self.full = False
        #: The broker had declared it dead.
        self.not_live = False
        #: Why the supervisor killed it; and the jobs for whose limit, since when.
        self.killed = ""
        self.overdue: dict[str, float] = {}
        #: When it was asked for its stacks; 0: it was not.
        self.asked_for_stacks = 0.0
        #: The child that it replaces once it is in service.
        self.replaces: Forked | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """What of it a sibling must not keep open: that would hide the death of the owner."""
        return self.commands, self.reports, self.stacks.fd

    def begin(self, pid: int) -> None:
        """It has been forked (or could not be: 0)."""
        self.pid = pid
        if pid:
            # The child does so too; whoever comes first, the group exists before anybody kills it.
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
        os.close(self.command_end)
        os.close(self.report_end)

    # ---- messages

    def send(self, message: dict[str, Any]) -> None:
        if self.commands >= 0:
            self.unsent += encode_message(message)
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

    def hear(self) -> list[dict[str, Any]]:
        """What it has said since the last time."""
        messages: list[dict[str, Any]] = []
        while not self.deaf:
            try:
                data = os.read(self.reports, 65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if data:
                messages += read_messages(self._received, data)
            else:
                self.deaf = True
        for message in messages:
            self._learn(message)
        return messages

    def _learn(self, message: dict[str, Any]) -> None:
        if "booted" in message:
            self.booted = True
        elif "up" in message:
            self.up.add(message["up"])
            self.since = time.monotonic()
        elif "failed" in message:
            self.failure = message["failed"]
        elif "full" in message:
            self.full = True
        elif "not_live" in message:
            self.not_live = True

    # ---- its stacks

    def ask_for_stacks(self) -> None:
        """It writes them down, whatever it does, if it is not stopped."""
        self.stacks.take()
        self.asked_for_stacks = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)

    @property
    def has_told_stacks(self) -> bool:
        """They are there, or nothing more is to be expected."""
        return time.monotonic() - self.asked_for_stacks >= (DUMP if self.stacks.written else DUMP_PATIENCE)

    def told_stacks(self) -> str:
        self.asked_for_stacks = 0.0
        return self.stacks.take()

    # ---- its end

    def enforce_limits(self) -> None:
        """Kill it if a job runs past its limit: that one did not react, or it holds the GIL."""
        overdue = [] if self.killed else self.board.overdue(time.monotonic(), TOLERANCE)
        if not overdue:
            if time.monotonic() - self.asked_for_stacks > 2 * DUMP_PATIENCE:
                self.asked_for_stacks = 0.0
        elif not self.asked_for_stacks:
            # First where it hangs, which it can tell whatever it does.
            self.ask_for_stacks()
        elif self.has_told_stacks:
            self.overdue = {job.id: job.again for job in overdue}
            self.kill("a job past its time limit")

    def drain(self) -> None:
        """Ask it to end what runs and go."""
        if not self.draining:
            self.draining = True
            self.send({"do": "drain"})

    def kill(self, reason: str) -> None:
        """The process and all that it started."""
        self.killed = self.killed or reason
        self.kill_group()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """What it started dies with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """It is gone; its numbers may belong to others soon."""
        self.board.settle_in(0)
        os.close(self.commands)
        os.close(self.reports)
        self.commands = self.reports = -1
        self.deaf = True
        self.unsent.clear()
        self.stacks.close()
        self.asked_for_stacks = 0.0


def start(
    number: int,
    board: Board,
    live: Callable[[Forked], int],
    others: Sequence[int],
    *,
    dies_with_parent: bool,
) -> Forked | None:
    """Fork a process that does ``live``; None, which is said, when the system has no room for one.

    Args:
        others: file descriptors of its siblings, which it closes.
    """
    made = None
    try:
        made = child = Forked(number, board)

        def begin() -> int:
            for fd in (*others, child.commands, child.reports):
                os.close(fd)
            return live(child)

        child.begin(fork(begin, dies_with_parent=dies_with_parent))
    except OSError as error:
        logger.error("No new process could be started, trying again: %s", error)
        if made is not None:
            made.begin(0)
            made.close()
        return None
    board.settle_in(child.pid)
    return child


def how_it_ended(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    hint = ", likely out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}{hint})"
