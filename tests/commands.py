"""Commands of aiotask that need not load it: forks of one process that has loaded the command line.

Such a command is a process like any other, with the arguments, the environment, the directory and the streams that it
is given. A test of how Python starts (``PYTHON*`` variables, the locale) needs ``python -m aiotask_cli`` instead.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["run_command"]

ROOT = Path(__file__).resolve().parent.parent


def run_command(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run ``aiotask`` with these arguments, and with nothing to read.

    Args:
        env: all variables; None: those of this process.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it had not ended by then, and was killed.
    """
    request = {"arguments": arguments, "env": dict(os.environ if env is None else env), "cwd": str(cwd)}
    answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, answers:
        with Path(os.devnull).open("rb") as nothing, theirs:
            given = [each.fileno() for each in (nothing, out, errors, theirs)]
            socket.send_fds(_loaded(), [json.dumps(request).encode()], given)
        pid = int(answers.recv(100))
        answers.settimeout(timeout)
        try:
            code = int(answers.recv(100))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["aiotask", *arguments], timeout) from None
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(["aiotask", *arguments], code, out.read().decode(), errors.read().decode())


@functools.cache
def _loaded() -> socket.socket:
    """The line to a process that has loaded the command line, and ends when nobody holds this line any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        started = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.prepared", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")},
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    # Nobody waits for it, and that is no leak: it ends after this process.
    started.returncode = 0
    atexit.register(ours.close)
    return ours
