"""Whether the terminal from which we were started is still there."""

from __future__ import annotations

import os
import signal

__all__ = ["Terminal"]


class Terminal:
    """HUP has two meanings: an operator's wish for fresh processes, and the kernel's word that the terminal is gone.

    Made at the start: under ``nohup`` (HUP ignored) or without a terminal, it is always the former.
    """

    def __init__(self) -> None:
        self._ours = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _opens()

    def is_gone(self) -> bool:
        """There was one, and it cannot be opened any more."""
        return self._ours and not _opens()


def _opens() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
