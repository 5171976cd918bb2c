"""A forked process as its supervisor sees it: process id, pipes, page, stacks, and what is known of its state."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

from .board import Board
from .child import encode_message, read_messages
from .stacks import Stacks

__all__ = ["Forked", "how_it_ended"]


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
        self.overdue_since = 0.0
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
        return messages

    # ---- its end

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


def how_it_ended(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "?"
    hint = ", likely out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}{hint})"
