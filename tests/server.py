"""A private server process for tests that hurt one: killed, stopped, emptied, filled up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from aiotask.embedded.binary import ServerBinary, _candidates, _identify, choose

from .helpers import wait_until, wait_until_async

__all__ = ["PrivateServer", "is_blocked", "program"]


def program(kind: str) -> ServerBinary:
    """The server program of this kind on this machine."""
    for path in _candidates(None):
        found = _identify(path)
        if isinstance(found, ServerBinary) and found.kind == kind:
            return found
    raise LookupError(f'There is no server of the kind "{kind}" here.')


class PrivateServer:
    """A Redis or Valkey on a unix socket in a directory of its own (short: a socket path holds 104 bytes).

    Args:
        options: further command line options, such as ``"--appendonly", "yes"``.
        kind: ``redis`` or ``valkey``; None takes what the embedded server would.
        config: text of a configuration file, which the server reads before its options and may rewrite.
    """

    def __init__(self, *options: str, kind: str | None = None, config: str = "") -> None:
        self.binary = choose(None, Path("/tmp")) if kind is None else program(kind)
        self.directory = Path(tempfile.mkdtemp(prefix="aiotask-", dir="/tmp"))
        self.socket = self.directory / "s"
        self.url = f"unix://{quote(str(self.socket))}"
        self._config: Sequence[Path] = ()
        if config:
            self._config = (self.directory / "conf",)
            self._config[0].write_text(config)
        #: On its command line; changes count from the next start.
        self.options: Sequence[str] = options
        #: Further variables of its environment, likewise.
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, loading: bool = False) -> None:
        """Start it, and return once it answers; ``loading``: once it says that it is loading its data."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self.binary.path, *self._config, "--port", "0"),
                    *("--unixsocket", self.socket, "--dir", self.directory),
                    *("--save", "", "--appendonly", "no", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        wait_until(lambda: self._answers(loading), description="the private server answers")

    def _answers(self, loading: bool) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"The server did not start: {(self.directory / 'log').read_text()}")
        try:
            return bool(self.call("PING")) and not loading
        except redis.BusyLoadingError:
            return loading
        except redis.ConnectionError:
            return False

    def call(self, *command: Any) -> Any:
        """The reply to one command of the operator."""
        if self._client is None:
            self._client = redis.Redis(unix_socket_path=str(self.socket), protocol=2)
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def cpu_time(self) -> float:
        """Milliseconds that the server has worked: time in which it was interrupted, by other processes or with the
        whole virtual machine, does not count."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e6

    def pause(self) -> None:
        """It does nothing until ``resume``, and its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """End it and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


async def is_blocked(server: PrivateServer, count: int = 1) -> None:
    """Wait until as many clients are inside a blocking read."""
    await wait_until_async(
        lambda: server.call("INFO", "clients")["blocked_clients"] >= count, description="the read is blocked"
    )
