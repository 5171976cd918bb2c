"""What ``aiotask worker`` becomes: the supervisor in a fresh interpreter, without what parses command lines.

The worker processes are forks of the supervisor, so each has every module that the supervisor has loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from aiotask.daemon.settings import WorkerSettings

__all__ = ["become_supervisor"]


def become_supervisor(options: Mapping[str, Any]) -> NoReturn:
    """Replace this program by the supervisor: same process id, same terminal, same environment.

    Args:
        options: of the command, as they were given. This program does without the library, whose import would double
            its time: the supervisor makes settings of them.
    """
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    _open_streams()
    # A Ctrl-C from here on is delivered to the supervisor, once it handles signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # -P: no file of the working directory stands in for a module of Python; --app-dir is for apps.
    os.execv(
        sys.executable,
        [sys.executable, *flags, "-P", "-m", __name__, json.dumps(options)],
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


def _settings(
    apps: list[str],
    app_dir: str = ".",
    concurrency: int | None = None,
    queues: Sequence[str] = (),
    **others: Any,
) -> WorkerSettings:
    """Settings by the options of the command, and by what this machine and directory say where they are silent.

    Raises:
        ConfigError: no app is named, or the queues cannot be read.
    """
    from aiotask.daemon.cpus import cpu_count
    from aiotask.daemon.settings import WorkerSettings
    from aiotask.importer import find_specs
    from aiotask.values.queue_order import parse_queues

    consumed, order = parse_queues([text for text in queues if text.strip(" ,")])
    return WorkerSettings(
        apps=tuple(find_specs(apps)),
        app_dir=app_dir,
        concurrency=concurrency or cpu_count(),
        queues=consumed,
        order=order,
        **others,
    )


def main() -> int:
    """Supervise with the options in the first argument; an error is printed in one line."""
    try:
        # The default app of the library reads the environment, in which there may be what it cannot read.
        from aiotask.daemon.supervisor import supervise

        return supervise(_settings(**json.loads(sys.argv[1])))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from aiotask.errors import AiotaskError

        from .failure import report

        if not isinstance(error, AiotaskError):
            raise
        return report(error)


if __name__ == "__main__":
    sys.exit(main())
