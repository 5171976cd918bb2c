"""One private server for all queues: on loopback TCP, since not every one of them can use a unix socket."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from aiotask.embedded.binary import choose

__all__ = ["Server", "private_server"]

#: Seconds that the server may take to answer.
_ANSWER_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that keeps nothing on disk."""

    url: str
    name: str
    client: redis.Redis

    def empty(self) -> None:
        """Forget everything, whoever's it was, and whoever is still connected."""
        self.client.flushall()
        self.client.client_kill_filter(_type="normal", skipme=True)
        self.client.client_kill_filter(_type="pubsub", skipme=True)


@contextlib.contextmanager
def private_server() -> Iterator[Server]:
    """The server program that the embedded server would run, ended and deleted afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="aiotask-peers-"))
    binary = choose(None, directory)
    port = _free_port()
    options: list[str | Path] = ["--bind", "127.0.0.1", "--port", str(port), "--dir", directory, "--save", ""]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary.path, *options, "--appendonly", "no"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    client = redis.Redis(port=port, protocol=2)
    try:
        _wait_for(client, process, directory / "log")
        yield Server(f"redis://127.0.0.1:{port}/0", f"{binary.kind.capitalize()} {binary.version}", client)
    finally:
        client.close()
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait_for(client: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The private server does not answer. Its log:\n{log.read_text()}") from None
            time.sleep(0.01)
