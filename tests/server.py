"""A private server process for tests that hurt one: killed, stopped, emptied, filled up."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from aiotask.brokers.server_binary import choose

from .helpers import wait_until

__all__ = ["PrivateServer"]


class PrivateServer:
    """A Redis or Valkey on a unix socket in a directory of its own (short: a socket path holds 104 bytes).

    Args:
        options: further command line options, such as ``"--appendonly", "yes"``.
    """

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="aiotask-", dir="/tmp"))
        self.socket = self.directory / "s"
        self.url = f"unix://{quote(str(self.socket))}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        binary = choose(None, self.directory)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(binary.path, "--port", "0", "--unixsocket", self.socket, "--dir", self.directory),
                    *("--save", "", "--appendonly", "no", *self._options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, description="the private server answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"The server did not start: {(self.directory / 'log').read_text()}")
        try:
            return bool(self.call("PING"))
        except (redis.ConnectionError, redis.BusyLoadingError):
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
