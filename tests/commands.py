"""Commands of aiotask that need not load it: forks of a process that has loaded their code.

Such a command is a process like any other, with the arguments, the environment, the directory and the streams that it
is given. A test of how Python starts (``PYTHON*`` variables, the locale) needs ``python -m aiotask_cli`` instead.
"""

from __future__ import annotations

import atexit
import functools
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

__all__ = ["Command", "heeds", "lend_command", "run_command"]

ROOT = Path(__file__).resolve().parent.parent
#: Begin the names of variables that Python, the C library and aiotask read as they are loaded.
_EARLY = (
    *("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "COVERAGE_"),
    *("AIOTASK_NAME", "AIOTASK_HIDE", "AIOTASK_SERIALIZER", "AIOTASK_RESULT_TTL", "AIOTASK_WHEN_FULL"),
    *("AIOTASK_MAX_PENDING", "AIOTASK_OTEL"),
)
#: Seconds for which one thread that waits keeps others from looking.
_SLICE = 0.01
#: Room for the titles that processes give themselves, which replace the command line.
_PADDING = "-" * 1000


class Command:
    """A command under way: a part of what `subprocess.Popen` offers.

    Args:
        what: ``commands``, or ``workers`` for `aiotask worker`.
        streams: standard input, output and error.
        env: all variables.
        session: whether it leads a session of its own.
        loaded: modules that are loaded, too.
    """

    def __init__(
        self,
        what: str,
        arguments: tuple[str, ...],
        streams: tuple[IO[Any], IO[Any], IO[Any]],
        *,
        env: Mapping[str, str],
        cwd: Path,
        session: bool = False,
        loaded: tuple[str, ...] = (),
    ) -> None:
        self.args = ["aiotask", *arguments]
        self.returncode: int | None = None
        self._looking = threading.Lock()
        request = {"arguments": arguments, "env": dict(env), "cwd": str(cwd), "session": session}
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            given = [*(stream.fileno() for stream in streams), theirs.fileno()]
            socket.send_fds(_loaded(what, loaded), [json.dumps(request).encode()], given)
        self.pid = int(self._answers.recv(100))

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._look(0.0)

    def _look(self, seconds: float) -> int | None:
        """Its exit code, if it ends within these seconds. Any thread may look."""
        with self._looking:
            if self.returncode is None and select.select([self._answers], [], [], seconds)[0]:
                self.returncode = int(self._answers.recv(100))
                with self._answers:
                    self._answers.shutdown(socket.SHUT_WR)
                    # Until its process ID is free.
                    self._answers.recv(1)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after this many seconds.
        """
        ends = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self._look(_SLICE)) is None:
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing, if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def heeds(env: Mapping[str, str]) -> bool:
    """Whether workers whose code is loaded already can heed all of these variables."""

    def early(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(_EARLY)}

    given, here = early(env), early(_prepared_env("workers"))
    if given.get("PYTHONPATH") == str(ROOT):
        # Workers import the modules in the root from the root even without the variable.
        given.pop("PYTHONPATH")
        here.pop("PYTHONPATH", None)
    return given == here


def run_command(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 240.0, input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``aiotask`` with these arguments.

    Args:
        env: all variables; None: those of this process.
        timeout: seconds.
        input: what there is to read.

    Raises:
        subprocess.TimeoutExpired: it had not ended by then, and was killed.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(input.encode())
        given.seek(0)
        command = Command("commands", arguments, (given, out, errors), env=os.environ if env is None else env, cwd=cwd)
        try:
            code = command.wait(timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            raise
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command.args, code, out.read().decode(), errors.read().decode())


def lend_command(folder: Path) -> tuple[dict[str, str], tuple[int, ...]]:
    """Put an ``aiotask`` for shells into this folder, which forks the commands.

    Returns:
        Variables and descriptors that the shell has to be given.
    """
    lines = [_loaded(what, ()).fileno() for what in ("commands", "workers")]
    program = folder / "aiotask"
    program.write_text(f"#!{sys.executable} -IS\n" + (ROOT / "tests/forked_command.py").read_text())
    program.chmod(0o755)
    return {"TEST_FORKED": " ".join(map(str, lines))}, tuple(lines)


def _prepared_env(what: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    return {**kept, "PYTHONUNBUFFERED": "1"} if what == "workers" else kept


@functools.cache
def _loaded(what: str, modules: tuple[str, ...]) -> socket.socket:
    """The line to a process that has loaded the code, and ends when nobody holds this line any more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # -P: workers find no module beside the program.
    options = ["-P"] if what == "workers" else []
    with theirs:
        started = subprocess.Popen(
            [
                *(sys.executable, *options, str(ROOT / "tests/prepared.py")),
                *(what, ",".join(modules), str(theirs.fileno()), _PADDING),
            ],
            stdin=subprocess.DEVNULL,
            env=_prepared_env(what),
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    # Nobody waits for it, and that is no leak: it ends after this process.
    started.returncode = 0
    atexit.register(ours.close)
    return ours
