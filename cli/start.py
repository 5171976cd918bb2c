"""The entry point of the command: Ctrl-C during the imports ends it without a traceback."""

from __future__ import annotations

import os
import signal
import sys

from .output import write_anything

__all__ = ["main"]


def _probe(question: str, app: str | None) -> None:
    """Answer a probe with one line and the exit code."""
    from aiotask.daemon.health.probe import probe
    from aiotask.errors import AiotaskError

    from .failure import report

    try:
        well, line = probe(question, app)
    except AiotaskError as error:
        sys.exit(report(error))
    print(line)
    sys.exit(0 if well else 1)


def _keep_for_the_supervisor() -> None:
    """Block the signals that end a program and mean something else to a supervisor, until it handles them.

    The mask and what is pending survive the execution of another program. Ignored ones stay ignored (``nohup``).
    """
    wanted = (signal.SIGHUP, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [each for each in wanted if signal.getsignal(each) is not signal.SIG_IGN])


def _as_text(argument: str) -> str:
    """An argument in which a locale other than UTF-8 has left bytes undecoded, read as UTF-8; a path stays as it is."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        # The system finds a file by its bytes alone, and Python sends no undecoded bytes to a broker.
        if os.sep in argument or os.path.exists(argument):
            return argument
        return os.fsencode(argument).decode("utf-8", "replace")
    return argument


def main() -> None:
    """Load the command line and run it."""
    # No work is under way yet that a KeyboardInterrupt would clean up. A shell may have SIGINT ignored; that stays.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["worker"]:
        _keep_for_the_supervisor()
    else:
        # The supervisor gets the arguments as they were given.
        sys.argv[1:] = map(_as_text, sys.argv[1:])
    write_anything()
    if sys.argv[1:3] in (["doctor", "--live"], ["doctor", "--ready"]) and "AIOTASK_JSON" not in os.environ:
        # Probes run every few seconds, and loading the parser would take several times as long.
        question, rest = sys.argv[2].removeprefix("--"), sys.argv[3:]
        if not rest:
            return _probe(question, os.environ.get("AIOTASK_NAME") or None)
        if len(rest) == 2 and rest[0] in ("--name", "-n"):
            return _probe(question, rest[1])
    from .main import main as run

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
