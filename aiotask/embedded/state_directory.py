"""The state directory of the embedded server: its files, their permissions, and its two locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import BrokerError, ConfigError
from .binary import ServerBinary, Writer

__all__ = ["TICK", "StateDirectory", "private", "state_directory"]

#: Seconds between two checks of a lock or a socket that another process is about to change.
TICK = 0.01
#: Bytes of the shortest ``sun_path`` (macOS), less its closing zero.
_SOCKET_BYTES = 103
#: Where the socket goes when its path would be longer. Not XDG_RUNTIME_DIR, which ends with the
#: login; not TMPDIR, which differs between the processes of one user.
_SHORT = "/tmp/aiotask-{uid}"
_LOG_BYTES = 4 * 1024 * 1024
#: How the files of a state directory begin; the history may be there before the server.
_OURS = ("server.", "worker.", "results.db", "secret", ".server.", ".worker.", ".secret.")
_ANOTHER = "Set AIOTASK_HOME to a directory of this user, or AIOTASK_URL to a server of your own."


def state_directory() -> Path:
    """The directory of the embedded server of this user.

    ``$AIOTASK_HOME``, else ``$XDG_STATE_HOME/aiotask``, else ``~/.local/state/aiotask``.

    Raises:
        ConfigError: none of these is set and the user has no home directory.
    """
    if home := os.environ.get("AIOTASK_HOME"):
        return Path(os.path.abspath(os.path.expanduser(home)))
    xdg = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(xdg):
        return Path(xdg, "aiotask")
    try:
        return Path.home() / ".local" / "state" / "aiotask"
    except RuntimeError:
        raise ConfigError(f"This user has no home directory for the data of the embedded server. {_ANOTHER}") from None


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """One state directory; ``server.py`` has the table of its files."""

    path: Path
    socket: Path

    @classmethod
    def locate(cls, directory: Path | None = None) -> StateDirectory:
        """The given directory or that of the user, in the same spelling for all processes; nothing is created."""
        path = Path(os.path.realpath(directory or state_directory()))
        near = path / "server.sock"
        if len(os.fsencode(near)) <= _SOCKET_BYTES:
            return cls(path, near)
        owner = _stat(path)
        short = Path(_SHORT.format(uid=os.geteuid() if owner is None else owner.st_uid))
        return cls(path, short / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock")

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.path / "server.pid"

    # ---- permissions

    def prepare(self) -> None:
        """Create the directory for this user alone, or check that it is so.

        Raises:
            ConfigError: that is impossible, or other users could read or change the files.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._keep_private()
            if self.socket.parent != self.path:
                self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise ConfigError(f'The state directory "{self.path}" cannot be used: {reason}. {_ANOTHER}') from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f'The state directory "{self.path}" cannot be written by this user. {_ANOTHER}')

    def _keep_private(self) -> None:
        found = self.path.stat()
        if os.geteuid() not in (0, found.st_uid):
            raise ConfigError(
                f'The state directory "{self.path}" belongs to another user (uid {found.st_uid}). {_ANOTHER}'
            )
        if not found.st_mode & 0o077:
            return
        # The permissions of a directory with other files, such as a home or /tmp, are left alone.
        names = os.listdir(self.path)
        if "server.lock" not in names and not all(name.startswith(_OURS) for name in names):
            raise ConfigError(
                f'The state directory "{self.path}" is open to other users (mode {stat.S_IMODE(found.st_mode):o}) and '
                f'holds other files, too. Run: chmod 700 "{self.path}", or set AIOTASK_HOME to a directory of its own.'
            )
        self.path.chmod(0o700)

    def check_socket(self) -> None:
        """Check that a socket in /tmp is in a directory that only this user can have made.

        Raises:
            ConfigError: another user made the directory.
        """
        short = self.socket.parent
        if short == self.path:
            return
        try:
            found, owner = short.lstat(), self.path.stat().st_uid
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid(), owner) or found.st_mode & 0o077:
            raise ConfigError(
                f'"{short}", where the socket of "{self.path}" belongs because that path is too long for a socket, '
                f"is not a private directory of this user. Set AIOTASK_HOME to a directory with a shorter path."
            )

    def secret(self) -> str:
        """The key of the seal: random, and created on first use."""
        path = self.path / "secret"
        with suppress(FileNotFoundError):
            if secret := path.read_text("ascii"):
                return secret
        with self.locked():
            # Another process may have been first.
            with suppress(FileNotFoundError):
                if secret := path.read_text("ascii"):
                    return secret
            secret = os.urandom(32).hex()
            _replace(path, secret)
            return secret

    # ---- the writer of the data

    def has_data(self) -> bool:
        """Whether there are append-only files (a directory of them since Redis 7)."""
        return any(path.is_file() for path in self.data.glob("appendonly*")) or any(self.data.glob("appendonly*/*"))

    def writer(self) -> Writer | None:
        """The server that wrote the data, as far as that is known."""
        facts = self._facts()
        return Writer(facts["kind"], facts["version"], facts["binary"]) if facts else None

    def host(self) -> str:
        """The host whose server wrote the data."""
        return self._facts().get("host", "")

    def record(self, binary: ServerBinary) -> None:
        """Record the server program that writes the data from now on."""
        facts = {
            "kind": binary.kind,
            "version": binary.version,
            "binary": str(binary.path),
            "host": socket.gethostname(),
            "socket": str(self.socket),
        }
        _replace(self.path / "server.json", json.dumps(facts, indent=2) + "\n")

    def _facts(self) -> dict[str, str]:
        try:
            facts = json.loads((self.path / "server.json").read_bytes())
            return {key: str(facts[key]) for key in ("kind", "version", "binary", "host")}
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return {}

    def pid(self) -> int | None:
        """The process id that the server wrote down."""
        try:
            return int(self.pid_file.read_text("ascii"))
        except (OSError, ValueError):
            return None

    # ---- locks

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """The lock of the process that starts or stops the server; False while another process has it."""
        descriptor = _open(self.path / "server.lock")
        try:
            mine = _lock(descriptor)
            try:
                yield mine
            finally:
                if mine:  # explicitly: a process forked meanwhile has a copy of the descriptor
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    @contextmanager
    def locked(self, timeout: float = 10.0) -> Iterator[None]:
        """Wait for the lock of the process that starts or stops the server.

        Args:
            timeout: seconds to wait.

        Raises:
            BrokerError: another process had the lock all the time.
        """
        end = time.monotonic() + timeout
        while True:
            with self.try_lock() as mine:
                if mine:
                    yield
                    return
            if time.monotonic() > end:
                raise BrokerError(self.busy())
            time.sleep(TICK)

    def busy(self) -> str:
        """The text of the error when the lock does not become free."""
        return (
            f'Another process has been starting or stopping the embedded server in "{self.path}" for too long. '
            f'See "{self.log}", and try again.'
        )

    def lock_alive(self) -> int:
        """A descriptor with the lock that a server inherits: the kernel frees it when the server ends."""
        path = self.path / "server.alive"
        descriptor = _open(path)
        if not _lock(descriptor):
            # The caller knows that no server lives, so a process that was forked during an earlier start has a copy of
            # the descriptor. A new file avoids its lock.
            os.close(descriptor)
            path.unlink()
            descriptor = _open(path)
            _lock(descriptor)
        return descriptor

    def alive(self) -> bool:
        """Whether a server has the lock of ``server.alive``, here or (over a shared file system) on another host."""
        try:
            descriptor = os.open(self.path / "server.alive", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _lock(descriptor)
        finally:
            os.close(descriptor)

    # ---- the log

    def begin_log(self) -> int:
        """The offset in bytes at which the next log lines will begin; a long log is renamed first."""
        with suppress(FileNotFoundError):
            size = self.log.stat().st_size
            if size < _LOG_BYTES:
                return size
            self.log.replace(self.log.with_suffix(".log.1"))
        return 0

    def log_since(self, offset: int, lines: int = 6) -> str:
        """The last lines that were logged after this offset (bytes)."""
        try:
            with self.log.open("rb") as log:
                log.seek(offset)
                logged = log.read(_LOG_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return ""
        # The advice about overcommit is in every log, and is never the cause.
        relevant = [line for line in logged if line.strip() and "overcommit" not in line]
        return "\n".join(f"  {line}" for line in relevant[-lines:])


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def private(path: str, flags: int) -> int:
    """An ``opener`` for ``open`` that creates files for this user alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _open(path: Path) -> int:
    return private(os.fspath(path), os.O_RDWR | os.O_CREAT)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, text: str) -> None:
    """Replace the content of a file at once: after a crash it has either the old or the new text in full."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "w", encoding="utf-8", opener=private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
