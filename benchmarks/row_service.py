"""Workers of rows and of the outbox as a user starts them, and when the jobs that they run have started."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .bytecode import environment
from .figure import Failed
from .row_tasks import DATABASE, SOCKET

__all__ = ["Starts", "burst", "service", "starts"]

_ROOT = Path(__file__).parent.parent
#: Seconds that workers may take to stop, and to start a job; they may have to start themselves.
_STOP_TIMEOUT, _JOB_TIMEOUT = 120.0, 120.0


class Starts:
    """Receives the times at which jobs start."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "starts")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(_JOB_TIMEOUT)

    def next(self) -> float:
        """The time of the next start, by the monotonic clock."""
        try:
            (at,) = struct.unpack("d", self._socket.recv(8))
        except TimeoutError:
            raise Failed(f"A job did not start within {_JOB_TIMEOUT:g} s.") from None
        return float(at)

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def starts() -> Iterator[Starts]:
    # Not the default folder: the path of a socket holds some 100 bytes.
    with tempfile.TemporaryDirectory(prefix="aiotask-bench-", dir="/tmp") as folder:
        received = Starts(Path(folder))
        try:
            yield received
        finally:
            received.close()


def _command(app: str, processes: int, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "aiotask_cli",
        "worker",
        f"benchmarks.row_tasks:{app}",
        "-c",
        str(processes),
        *options,
    ]


def _environment(database: str, more: dict[str, str]) -> dict[str, str]:
    return {**environment(), DATABASE: database, **more}


def burst(database: str, *options: str) -> None:
    """Let one worker process run the rows that are there, and end."""
    done = subprocess.run(
        _command("rows", 1, "--burst", *options),
        cwd=_ROOT,
        env=_environment(database, {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"The worker ended with code {done.returncode}:\n{done.stderr[-2000:].decode()}")


@contextlib.contextmanager
def service(database: str, app: str, processes: int = 1, *, socket: str = "", url: str = "") -> Iterator[None]:
    """Worker processes of one app; they may not be in service yet.

    Args:
        app: ``rows`` or ``outbox``.
        socket: path to which jobs tell that they start.
        url: of the broker.
    """
    more = {SOCKET: socket, **({"AIOTASK_URL": url} if url else {})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _command(app, processes),
            cwd=_ROOT,
            env=_environment(database, more),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.buffer.write(b"The workers said:\n" + log.read()[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
