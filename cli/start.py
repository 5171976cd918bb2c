"""Where the command begins: Ctrl-C during the imports ends it in silence."""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> None:
    """Load the command line and run it."""
    # Nothing is under way yet that a KeyboardInterrupt could tidy up. (A shell may have it ignored: that stays.)
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .main import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
