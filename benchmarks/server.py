"""The server that is measured against: a private one in a directory of its own, or one that is given."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis

from aiotask.brokers.redis.keys import prefix
from aiotask.embedded.binary import Writer, choose
from aiotask.errors import ConfigError

from .tasks import NAME

__all__ = ["Server", "kinds", "private_server"]

#: Seconds that a server may take to answer.
_ANSWER_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the broker is, and a connection of the one who measures."""

    url: str
    #: ``no`` (append-only off) or ``everysec``; ``?`` for a server that was given.
    fsync: str
    client: redis.Redis

    @classmethod
    def at(cls, url: str, fsync: str = "?") -> Server:
        return cls(url, fsync, redis.Redis.from_url(url, protocol=2))

    @property
    def is_private(self) -> bool:
        """Started for this: its settings may be changed."""
        return self.fsync != "?"

    @property
    def kind(self) -> str:
        info = self.client.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        return f"{name} {info.get('valkey_version', info['redis_version'])}"

    def key(self, name: str) -> str:
        """The key of the benchmark's app, as it is called on the server."""
        return prefix(NAME) + name

    def finished(self) -> int:
        """Jobs of the benchmark that have ended well since the count began."""
        counts = self.client.hgetall(self.key("counts"))
        return sum(int(count) for name, count in counts.items() if name.endswith(b"SUCCESS"))

    def forget_counts(self) -> None:
        """Count from nought again."""
        self.client.delete(self.key("counts"))

    def used_memory(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def cpu(self) -> float:
        """CPU seconds that it has used."""
        used = self.client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def clear(self) -> None:
        """Remove what an earlier measurement left; keys of others stay."""
        keys = list(self.client.scan_iter(f"{prefix(NAME)}*", count=10_000))
        for start in range(0, len(keys), 1000):
            self.client.delete(*keys[start : start + 1000])


def kinds() -> list[str]:
    """Kinds of server on this machine (``redis``, ``valkey``), first the one that the embedded server would run."""
    first = choose(None, Path("/")).kind
    found = [first]
    for kind in ("redis", "valkey"):
        with contextlib.suppress(ConfigError):
            found.append(choose(Writer(kind, "0", ""), Path("/")).kind)
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def private_server(fsync: str, kind: str | None = None) -> Iterator[Server]:
    """A server on a unix socket, ended and deleted afterwards.

    Args:
        kind: ``redis`` or ``valkey``; None: what the embedded server would run.
    """
    # Short: the path of a socket holds some 100 bytes.
    directory = Path(tempfile.mkdtemp(prefix="aiotask-bench-", dir="/tmp"))
    socket = directory / "s"
    binary = choose(Writer(kind, "0", "") if kind else None, directory)
    options: list[str | Path] = ["--port", "0", "--unixsocket", socket, "--dir", directory, "--save", ""]
    options += ["--appendonly", "no"] if fsync == "no" else ["--appendonly", "yes", "--appendfsync", fsync]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary.path, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        server = Server.at(f"unix://{quote(str(socket))}", fsync)
        _wait_for(server, process, directory / "log")
        yield server
        server.client.close()
    finally:
        process.terminate()
        try:
            process.wait(_ANSWER_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while True:
        try:
            server.client.ping()
            return
        except redis.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The private server does not answer. Its log:\n{log.read_text()}") from None
            time.sleep(0.01)
