"""Where the command begins: Ctrl-C during the imports ends it in silence."""

from __future__ import annotations

import os
import signal
import sys

from .output import write_anything

__all__ = ["main"]


def _probe(question: str) -> None:
    """Answer with one line and the exit code."""
    from aiotask.errors import AiotaskError

    from .failure import report
    from .probe import probe

    try:
        well, line = probe(question)
    except AiotaskError as error:
        sys.exit(report(error))
    print(line)
    sys.exit(0 if well else 1)


def main() -> None:
    """Load the command line and run it."""
    # Nothing is under way yet that a KeyboardInterrupt could tidy up. (A shell may have it ignored: that stays.)
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    write_anything()
    if sys.argv[1:] in (["doctor", "--live"], ["doctor", "--ready"]) and "AIOTASK_JSON" not in os.environ:
        # Asked every few seconds: what parses command lines would take several times as long.
        return _probe(sys.argv[2].removeprefix("--"))
    from .main import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
