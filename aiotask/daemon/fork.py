"""What every child of the supervisor does first, whatever it is."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import logging
import os
import random
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NoReturn

from ..log.events import plain
from ..log.setup import finish
from .signals import ignore_harmless

__all__ = [
    "Exit",
    "become_subreaper",
    "ended_children",
    "fork",
    "in_a_line",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Exit:
    """Exit codes of children, as the supervisor reads them."""

    DONE = 0
    #: A setting is wrong.
    MISUSED = 2
    #: The app could not be loaded.
    BOOT = 3
    #: The broker had declared this host or worker dead.
    NOT_LIVE = 75


def fork(work: Callable[[], int], *, dies_with_parent: bool) -> int:
    """Fork a child that does ``work`` and exits with its answer; the parent gets the pid.

    All signals are blocked around the fork, so that none is delivered while handlers still are the
    parent's.

    Raises:
        OSError: the system has no room for another process.
    """
    parent = os.getpid()
    # What waits in a buffer would be written by both.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pid:
        return pid
    _live(work, parent, dies_with_parent)


def _live(work: Callable[[], int], parent: int, dies_with_parent: bool) -> NoReturn:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        ignore_harmless()
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Its own group: what it starts dies with it, and the terminal's Ctrl-C reaches the supervisor alone.
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _leave_terminal()
        _read_nothing()
        if dies_with_parent:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        # Not to stderr, which user code may have closed, and whose reader may have stopped reading.
        with contextlib.suppress(BaseException):
            logging.getLogger("aiotask.worker").critical("This process ends because of an error.", exc_info=True)
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            finish()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _leave_terminal() -> None:
    """Have no controlling terminal, nor let what this process starts have one.

    To the terminal this is a background job: a job that reads from it, or a program such as `ssh` that asks for a
    password, would be stopped, with all other jobs of the process. Without a terminal it gets an error instead.
    """
    # Not a session of its own: its leader would get a new terminal by merely opening one.
    with contextlib.suppress(OSError):
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(fd, termios.TIOCNOTTY)
        finally:
            os.close(fd)


def _read_nothing() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)


def become_subreaper() -> None:
    """Orphans of this process become its children, so that none is left behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, int(value), 0, 0, 0)


def ended_children() -> Iterator[tuple[int, Callable[[], tuple[int, int]]]]:
    """Every child that has ended, also those of dead children; each is reaped when asked for its wait status, and
    the bytes of memory that it used at most."""
    with contextlib.suppress(ChildProcessError):
        while sys.platform != "darwin":
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            yield ended.si_pid, partial(_reaped, ended.si_pid)
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, partial(_facts, status, usage.ru_maxrss)


def _reaped(pid: int) -> tuple[int, int]:
    _, status, usage = os.wait4(pid, 0)
    return _facts(status, usage.ru_maxrss)


def _facts(status: int, peak: int) -> tuple[int, int]:
    return status, peak if sys.platform == "darwin" else peak * 1024


def in_a_line(error: BaseException) -> str:
    """What was raised, for people."""
    text = plain(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
