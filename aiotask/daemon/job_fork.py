"""What becomes of a process that a job forks: a process of its own, which never does the worker's work."""

from __future__ import annotations

import contextlib
import dis
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Collection
from types import FrameType
from typing import NoReturn

from ..worker.executor import call_async
from ..worker.run import Run
from .board import SharedBoard
from .signals import do_nothing
from .title import set_title

__all__ = ["JobFork", "end_copy"]

_RETURNS = {"RETURN_VALUE", "RETURN_CONST"}


class JobFork:
    """Registered once in a worker process, for all forks that user code does in it.

    Args:
        board: of the worker process; no process reads what the copy writes.
        signals: those that the worker handles itself; in the copy they mean what they mean anywhere.
        pipes: file descriptors that the copy closes.
    """

    def __init__(self, board: SharedBoard, signals: Collection[signal.Signals], pipes: Collection[int]) -> None:
        self._board = board
        self._signals = signals
        self._pipes = pipes
        self._masks: dict[int, set[int]] = {}
        #: This process is a copy.
        self.is_copy = False
        #: Native number of the thread in which the event loop runs; 0: none yet.
        self.loop_thread = 0

    def register(self) -> None:
        os.register_at_fork(
            before=self._hold_signals, after_in_parent=self._release_signals, after_in_child=self._become_copy
        )

    def _hold_signals(self) -> None:
        # A signal that reached the child before it has handlers of its own would be lost, or taken for the worker's.
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)

    def _release_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(threading.get_ident()))

    def _become_copy(self) -> None:
        self.is_copy = True
        faulthandler.enable(2)
        faulthandler.unregister(signal.SIGUSR1)
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        # The default would end it when an operator asks all processes by name for their stacks.
        signal.signal(signal.SIGUSR1, do_nothing)
        set_title("aiotask: process of a job")
        self._board.detach()
        for fd in self._pipes:
            with contextlib.suppress(OSError):
                os.close(fd)
        if threading.get_ident() == self.loop_thread:
            _leave_loop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)


def _leave_loop() -> None:
    """In a copy of the event loop's thread: the copy ends where the code that has forked would return to the loop.

    Nothing may run there any more: the neighbours of the job run in the parent, on the same sockets.
    """
    _close_pollers()
    bottom, frame = sys._getframe(), sys._getframe().f_back
    while frame is not None and frame.f_code.co_name != "run_loop":
        bottom, frame = frame, frame.f_back

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and (frame.f_code is call_async.__code__ or frame is bottom):
            run = frame.f_locals.get("run") if frame.f_code is call_async.__code__ else None
            _end_in_loop(run, frame)

    sys.setprofile(watch)
    # A process of multiprocessing never returns into the loop, and is not to be slowed down.
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.register_after_fork(_leave_loop, lambda _: sys.setprofile(None))


def _end_in_loop(run: Run | None, frame: FrameType) -> NoReturn:
    sys.setprofile(None)
    if run is not None and run.finished_at:
        end_copy(run)
    name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if name not in _RETURNS and run is not None:
        print(
            f'A process that job "{run.job.id}" ({run.task.name}) has forked ends here: it awaits something, but '
            "the event loop belongs to its parent process.",
            file=sys.stderr,
        )
    _exit(0 if name in _RETURNS else 1)


def end_copy(run: Run) -> NoReturn:
    """The code of a job has ended in a process that it has forked: the process ends as any other one would."""
    code = 0
    if isinstance(run.error, SystemExit):
        code = run.error.code if isinstance(run.error.code, int) else int(run.error.code is not None)
    elif run.error is not None:
        code = 1
        with contextlib.suppress(Exception):
            print(run.traceback, file=sys.stderr)
    _exit(code)


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _close_pollers() -> None:
    """Both processes share each poller: an event that the copy took would never reach the parent."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                    os.close(int(name))
