"""What ends a sync job in the main thread of a worker process: at its limit, or when it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from types import FrameType

from ..errors import Interrupted
from ..worker.budget import over_cpu
from ..worker.executor import Guard
from ..worker.run import Board, Run
from .own_signals import ALARMS, OwnSignals, handler_of, set_mask

__all__ = ["MainThreadInterrupts"]

#: Seconds past a limit after which the second alarm is sent, and between two of them.
_LATE = 0.1


class MainThreadInterrupts(Guard):
    """Interrupts the main thread at a time limit by a kernel timer, and at a cancel by a signal.

    The handler raises only while a run is being watched: between two jobs it does nothing.

    Args:
        board: where it is written down that a run was asked to end.
        signals: the handlers of this process, which are put back after each run that has changed them.
    """

    def __init__(self, board: Board, signals: OwnSignals) -> None:
        self._board = board
        self._run: Run | None = None
        self._main = threading.main_thread().ident
        self._signals = signals
        signals.on_alarm = self._on_alarm
        signals.restore()
        self._handlers = signals.handlers
        #: Whether no run is in the main thread, and the signals have not been put back since the last one.
        self._is_stale = False
        #: Whether the main thread was sent an alarm to put them back, and whether it has not heard it: a task has
        #: blocked the alarms.
        self._was_asked = self._is_deaf = False

    def watch(self, run: Run) -> Guard:
        if threading.get_ident() != self._main:
            return _NO_GUARD
        if self._is_deaf:
            self._was_asked = self._is_deaf = False
            self._signals.restore()
        self._run = run
        self._is_stale = False
        return self

    def __enter__(self) -> None:
        run = self._run
        if run is None:
            return
        if run.cancelled:
            # The cancel came between the start of the run and now, when the run was not watched yet.
            self._run = None
            raise Interrupted
        if run.timeout is not None:
            # A task that has blocked the alarms may have ended just now.
            set_mask(signal.SIG_UNBLOCK, ALARMS)
            signal.setitimer(signal.ITIMER_REAL, run.timeout)

    def __exit__(self, *_: object) -> None:
        run, self._run = self._run, None
        on_term, on_alarm = self._handlers
        if handler_of(signal.SIGALRM) is not on_alarm or handler_of(signal.SIGTERM) is not on_term:
            # The task had signals of its own; no alarm is to interrupt the next job.
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            self._signals.restore()
        elif run is not None and run.timeout is not None:
            # Should the alarm come just now, the handler finds that no run is watched.
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        self._is_stale = True

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        run = self._run
        if run is None:
            if self._is_stale:
                self._is_stale = self._was_asked = False
                self._signals.restore()
            return
        late = run.timeout is not None and time.monotonic() - run.started_mono >= run.timeout
        if run.cancelled or late or over_cpu(run, self._board):
            # Once: a second error could be raised where no code catches it any more.
            self._run = None
            if (loop := asyncio._get_running_loop()) is not None and type(loop).__module__.startswith("uvloop"):
                # uvloop lets nothing out that a signal handler raises, but what its callbacks raise for that purpose.
                loop.call_soon_threadsafe(_interrupt)
            else:
                raise Interrupted

    # ---- from the loop thread

    def tick(self) -> None:
        """A few times a second: send the second alarm for a run that is past a limit and was not interrupted."""
        run = self._run
        if self._is_stale and self._main is not None:
            # A handler can be set in the main thread alone, which waits for a job.
            self._is_deaf = self._was_asked
            self._was_asked = True
            self._signal_main_thread(signal.SIGVTALRM)
        else:
            self._was_asked = False
        if run is None or self._main is None or not run.started_mono:
            return
        took = time.monotonic() - run.started_mono
        if (run.timeout is not None and took > run.timeout + _LATE) or (
            run.budget is not None and 0 < run.budget.cpu <= min(took, self._cpu(run.budget.cpu_before))
        ):
            self._signal_main_thread(signal.SIGVTALRM)

    def _cpu(self, before: float) -> float:
        """Seconds of CPU that the main thread has used since then; where the system does not say: enough to ask it."""
        if self._main is None or not hasattr(time, "pthread_getcpuclockid"):
            return float("inf")
        return time.clock_gettime(time.pthread_getcpuclockid(self._main)) - before

    def interrupt(self, run: Run) -> None:
        """Raise in the main thread, if it still is on this run."""
        if self._run is run and self._main is not None:
            self._signal_main_thread(signal.SIGVTALRM)

    def _signal_main_thread(self, number: int) -> None:
        assert self._main is not None
        with contextlib.suppress(ProcessLookupError):
            signal.pthread_kill(self._main, number)


class _LoopInterrupted(Interrupted, SystemExit):
    """The one kind of error that leaves an event loop from within a callback."""


def _interrupt() -> None:
    raise _LoopInterrupted


_NO_GUARD = Guard()
