"""Signals as numbers to be read: a handler would run in the middle of anything, and not while in C."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import Any

from .child import unheard

__all__ = ["Signals"]

_HEARD = ("TERM", "INT", "HUP", "TTIN", "TTOU", "USR1", "CHLD")


class Signals:
    """A socket that holds a byte with the number of each signal that came since the last look."""

    def __init__(self) -> None:
        self._bell, self._bell_end = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_end.setblocking(False)
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """From now on; the handlers do nothing, since the byte is there by then."""
        signal.set_wakeup_fd(self._bell_end.fileno(), warn_on_full_buffer=False)
        for name in _HEARD:
            number = getattr(signal, f"SIG{name}")
            self._before[int(number)] = signal.signal(number, unheard)
        # Whoever started this may have held a Ctrl-C back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def fileno(self) -> int:
        return self._bell.fileno()

    def heard(self) -> bytes:
        """Their numbers, each told once."""
        with contextlib.suppress(BlockingIOError):
            return self._bell.recv(4096)
        return b""

    def restore(self) -> None:
        """As it was before."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def close(self) -> None:
        """In a child, which hears its own."""
        self._bell.close()
        self._bell_end.close()
