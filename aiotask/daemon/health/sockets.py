"""Where probes are answered: a socket in the state directory, and a port if one is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from ...embedded.state_directory import StateDirectory
from ...errors import ConfigError

__all__ = ["ProbeSockets", "sockets_nearby"]

logger = logging.getLogger("aiotask.supervisor")

#: Bytes of a path that every system takes for a socket.
_MOST = 103


class ProbeSockets:
    """Listening sockets of one supervisor, opened before its first fork.

    The supervisor keeps them open and its keeper answers: a request between two keepers waits for the next one.

    Args:
        host: address of the port.
        port: None: the socket in the state directory alone.

    Raises:
        ConfigError: the port cannot be had.
    """

    def __init__(self, host: str, port: int | None) -> None:
        self.sockets: list[socket.socket] = []
        self._path: Path | None = None
        if port is not None:
            self.sockets.append(_listen_at(host, port))
        try:
            directory = StateDirectory.locate()
            directory.prepare()
            self._path = _path(directory, str(os.getpid()))
            _make_private(self._path.parent)
            self.sockets.append(_listen_on(self._path))
            _sweep()
        except (ConfigError, OSError) as error:
            if port is None:
                logger.warning("`aiotask doctor --live` cannot find this worker; give it a --health-port: %s", error)

    def close(self) -> None:
        """In a child that answers no probes."""
        for each in self.sockets:
            each.close()

    def remove(self) -> None:
        """At the end of the supervisor."""
        self.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _listen_at(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family)
    except OSError as error:
        # Python's own text goes on with the address.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise ConfigError(
            f'The health port {port} at "{host}" cannot be opened: {reason}. '
            "Choose another --health-port (AIOTASK_HEALTH_PORT) or --health-host, or stop the program that uses it."
        ) from None
    made.setblocking(False)
    return made


def _listen_on(path: Path) -> socket.socket:
    # A socket has its name only once it listens: other supervisors remove those that refuse a connection.
    hidden = path.with_name(f".{path.name}")
    hidden.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(str(hidden))
        made.listen()
        hidden.rename(path)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _path(directory: StateDirectory, number: str) -> Path:
    near = directory.path / f"worker.{number}.sock"
    if len(os.fsencode(directory.path / ".worker.4194304.sock")) <= _MOST:
        return near
    # Where the server's socket goes for the same reason.
    owner = directory.path.stat().st_uid if directory.path.exists() else os.geteuid()
    digest = hashlib.sha256(os.fsencode(directory.path)).hexdigest()[:16]
    return Path(f"/tmp/aiotask-{owner}", f"{digest}.{number}.sock")


def _make_private(folder: Path) -> None:
    """Raise OSError if another user could have put a socket there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
        raise OSError(f'"{folder}" is not a private directory of this user')


def _sweep() -> None:
    """Remove the sockets of supervisors that were killed together with their keepers."""
    for path in sockets_nearby():
        with socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                pass


def sockets_nearby() -> Iterator[Path]:
    """The sockets of this user's supervisors, also those that died without removing theirs."""
    pattern = _path(StateDirectory.locate(), "*")
    yield from sorted(pattern.parent.glob(pattern.name))
