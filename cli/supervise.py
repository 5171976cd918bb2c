"""What ``aiotask worker`` becomes: the supervisor in a fresh interpreter, without what parses command lines.

The worker processes are forks of the supervisor, so each has every module that the supervisor has loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from aiotask.daemon.settings import WorkerSettings

__all__ = ["become_supervisor"]


def become_supervisor(settings: WorkerSettings) -> NoReturn:
    """Replace this program by the supervisor: same process id, same terminal, same environment."""
    import msgspec

    # Only settings that are not the default, since `ps` shows them.
    chosen = {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    _open_streams()
    # A Ctrl-C from here on is delivered to the supervisor, once it handles signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # -P: no file of the working directory stands in for a module of Python; --app-dir is for apps.
    os.execv(
        sys.executable,
        [sys.executable, *flags, "-P", "-m", __name__, msgspec.json.encode(chosen).decode()],
    )


def _open_streams() -> None:
    """Flush the standard streams; a closed one becomes ``/dev/null``, so that no file opened next takes its number."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
        elif number:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def main() -> int:
    """Supervise with the settings in the first argument; an error is printed in one line."""
    import msgspec

    from aiotask.daemon.settings import WorkerSettings
    from aiotask.daemon.supervisor import supervise
    from aiotask.errors import AiotaskError

    try:
        return supervise(msgspec.json.decode(sys.argv[1], type=WorkerSettings))
    except AiotaskError as error:
        from .failure import report

        return report(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
