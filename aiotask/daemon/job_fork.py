"""What becomes of a process that a job forks: a process of its own, which never does the worker's work."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Collection

from ..worker.job_fork import LoopThreads, end_with_caller
from .board import SharedBoard
from .signals import do_nothing
from .title import set_title

__all__ = ["JobFork"]


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
        self.loops = LoopThreads()

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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
        end_with_caller(self.loops)
