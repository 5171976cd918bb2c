"""Signals as numbers to be read: a Python handler could run between any two lines, and not while C code runs."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import termios

__all__ = ["HARMLESS", "Signals", "Terminal", "do_nothing", "ignore_harmless"]

#: Signals that the supervisor acts on.
_ACTED_ON = ("TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "TSTP", "USR1", "CHLD")
#: Signals that a fault of the process itself raises, or what it uses up, and those that do nothing by default.
_LEFT_ALONE = (
    *("ILL", "TRAP", "ABRT", "EMT", "BUS", "FPE", "SEGV", "SYS", "XCPU", "XFSZ", "PIPE", "KILL", "STOP"),
    *("CHLD", "CONT", "WINCH", "URG", "INFO"),
)


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(int(getattr(signal, f"SIG{name}")) for name in names if hasattr(signal, f"SIG{name}"))


#: Signals that come from outside and by default end or stop a process. None of them is to do that to a process of
#: ours by chance: an operator who signals by name, as with `pkill`, reaches all processes and means the supervisor.
HARMLESS = frozenset(map(int, signal.valid_signals())) - _numbers(*_LEFT_ALONE)


def do_nothing(number: int, frame: object) -> None:
    """A signal handler that does nothing; a program that the process executes gets the default one."""


def ignore_harmless() -> None:
    """In a process that does not act on them: what comes from outside neither ends nor stops it.

    Not SIG_IGN: programs that a task starts would inherit that.
    """
    for number in HARMLESS:
        # Real-time signals that the C library keeps for itself cannot be had.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, do_nothing)
            signal.siginterrupt(number, False)


class Signals:
    """A socket that holds a byte with the number of each signal that came since the last look."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._acted_on = _numbers(*_ACTED_ON)

    def listen(self) -> None:
        """Receive signals from now on; the handlers do nothing, since the byte is there by then."""
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in self._acted_on | HARMLESS:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, do_nothing)
        # Whatever started this process may have blocked some of them, and every process forked from it, with all
        # that its tasks execute, would inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def fileno(self) -> int:
        return self._reading.fileno()

    def received(self) -> list[int]:
        """The numbers of the signals to act on, each once."""
        with contextlib.suppress(BlockingIOError):
            return [number for number in self._reading.recv(4096) if number in self._acted_on]
        return []

    def end(self) -> None:
        """The process ends: nothing that comes from outside changes its exit code any more.

        Blocked, since Python gives every signal its default action back while it shuts down.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, HARMLESS)
        signal.set_wakeup_fd(-1)

    def close(self) -> None:
        """In a child, which receives its own signals."""
        self._reading.close()
        self._writing.close()


class Terminal:
    """HUP has two meanings: an operator's wish for fresh processes, and the kernel's word that the terminal is gone.

    Made at the start: under ``nohup`` (HUP ignored) or without a terminal, it is always the former.
    """

    def __init__(self) -> None:
        self._ours = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and (_opens() or _was_closed())

    def is_gone(self) -> bool:
        """Whether there was a terminal, and it cannot be opened any more."""
        return self._ours and not _opens()


def _was_closed() -> bool:
    """Whether a standard stream is a terminal that was closed before this process looked."""
    for number in (0, 1, 2):
        try:
            termios.tcgetattr(number)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                return True
    return False


def _opens() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
