"""Process-wide state that a worker process needs and user code may change: it is put back."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

from .watch.stack_file import Stacks

__all__ = ["ALARMS", "OwnSignals", "handler_of", "set_mask"]

#: The kernel's timer sends the first; the loop thread sends the second where a task has taken the first for itself.
ALARMS = frozenset({signal.SIGALRM, signal.SIGVTALRM})
#: Seconds for which a thread may hold the GIL while another one wants it. The default of 5 ms makes the loop's
#: answers late beside a busy main thread; much less slows the main thread down.
SWITCH_INTERVAL = 0.002

Handler = Callable[[int, FrameType | None], None]

# Without the wrapper, which tries to make an enum of what it finds: at forty times the cost, a tenth of a small job.
handler_of = getattr(sys.modules.get("_signal"), "getsignal", signal.getsignal)
set_mask = getattr(sys.modules.get("_signal"), "pthread_sigmask", signal.pthread_sigmask)


class OwnSignals:
    """Handlers of SIGTERM, SIGUSR1 and the alarms, the wake-up descriptor, the mask, and the switch interval.

    What else a process has (working directory, umask, ``sys.stdout``, locale, recursion limit) is that of user code.

    Args:
        wakeup: written to at SIGTERM. A handler in Python does not run while the main thread is in C; the loop thread
            reads a byte in a socket all the same.
        stacks: where SIGUSR1 writes.
    """

    def __init__(self, wakeup: socket.socket, stacks: Stacks) -> None:
        self._wakeup = wakeup
        self._stacks = stacks
        self._on_term: Handler = self._wake
        #: The handler of the alarms.
        self.on_alarm: Handler = self._wake

    @property
    def handlers(self) -> tuple[Handler, Handler]:
        """The handlers of SIGTERM and of the alarms; the very objects that are installed."""
        return self._on_term, self.on_alarm

    def restore(self) -> None:
        """Put everything back; in the main thread, between two jobs."""
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.siginterrupt(signal.SIGTERM, False)
        for number in ALARMS:
            signal.signal(number, self.on_alarm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGUSR1, *ALARMS))

    def tick(self) -> None:
        """Put back what any thread can; a few times a second, in the loop thread."""
        self._stacks.record()
        if sys.getswitchinterval() > SWITCH_INTERVAL * 1.01:
            sys.setswitchinterval(SWITCH_INTERVAL)

    def _wake(self, number: int, frame: FrameType | None) -> None:
        # The wake-up descriptor has written the byte already, unless user code has taken it for itself.
        with contextlib.suppress(OSError):
            self._wakeup.send(bytes((signal.SIGTERM,)))
