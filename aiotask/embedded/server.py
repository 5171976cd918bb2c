"""The embedded server: a private Redis or Valkey per user, started by the first process that needs it.

No process owns the server: it listens on a unix socket only, runs in its own session, keeps its data in an append-only
file, and stays until ``aiotask server stop``. The state directory holds:

=============  =====================================================================================
server.sock    the socket (in ``/tmp/aiotask-UID`` when the path would be too long for a socket)
server.json    kind, version and program of the server that wrote ``data``; host; socket
server.log     log of the server; an older part is ``server.log.1``
server.pid     process id, written by the server and removed by it at a clean end
server.lock    flock of the process that starts or stops the server
server.alive   flock that the server inherits and has while it lives
secret         random key of the seal (0600)
data           the append-only files
=============  =====================================================================================
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote

from ..errors import BrokerError, ConfigError
from .binary import ServerBinary, choose, product
from .probe import SILENCE_TIMEOUT, Probe, State, ask, foreign, parse_info, probe
from .state_directory import TICK, StateDirectory, private, state_directory

__all__ = ["EmbeddedServer", "announce", "ensure", "facts", "refuse_in_tests", "state_directory", "status", "stop"]

#: Seconds for which lock and socket may disagree, while a server starts or stops.
_TRANSITION_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server."""

    #: ``unix:///…`` with percent escapes, as redis-py expects.
    url: str
    pid: int
    #: ``valkey`` or ``redis``.
    kind: str
    version: str
    #: The state directory of the server.
    directory: Path
    #: Key of the seal.
    secret: str = field(repr=False)
    #: Whether this call of ``ensure`` started the server.
    started: bool


def announce(server: EmbeddedServer) -> str:
    """The text, logged once, for the user for whom a server was started."""
    return (
        f"Started the embedded server: {product(server.kind)} {server.version}, pid {server.pid}, data in "
        f'"{server.directory}". It keeps running until "aiotask server stop". To use a server of your own, set '
        "AIOTASK_URL."
    )


def refuse_in_tests() -> None:
    """Raise ConfigError in a test run that has not asked for the embedded server.

    The embedded server is the developer's: it goes on running, with the jobs of the tests for the developer's workers.
    """
    test = os.environ.get("PYTEST_CURRENT_TEST") or os.environ.get("PYTEST_VERSION")
    if test and _switch() not in ("1", "true", "yes", "on"):
        raise ConfigError(
            "AIOTASK_URL is not set, and a test run does not start the embedded server by accident: the jobs of "
            "the tests would stay there for the next worker. Set AIOTASK_URL=memory:// and run `async with "
            "app.worker(): …` in the "
            "test, or set AIOTASK_URL to a server for tests, or AIOTASK_EMBEDDED=1 to use the embedded server."
        )


def _switch() -> str:
    return os.environ.get("AIOTASK_EMBEDDED", "").strip().lower()


def ensure(directory: Path | None = None) -> EmbeddedServer:
    """Find the embedded server, or start it and wait until its data is loaded. Blocks.

    Args:
        directory: another state directory than that of the user.

    Raises:
        ConfigError: the server is switched off, its directory cannot be used, or this machine has no server program
            that can read the data.
        BrokerError: the server does not start or answer; with the last lines of its log.
    """
    if _switch() in ("0", "false", "no", "off"):
        raise ConfigError(
            "AIOTASK_URL is not set, and AIOTASK_EMBEDDED=0 forbids the embedded server. "
            "Set AIOTASK_URL to a Redis or Valkey, such as redis://localhost:6379."
        )
    home = StateDirectory.locate(directory)
    home.prepare()
    with _explained(home):
        return _ensure(home)


def _ensure(home: StateDirectory) -> EmbeddedServer:
    log: int | None = None
    progress, end = "", time.monotonic() + SILENCE_TIMEOUT
    while True:
        seen = probe(home)
        if seen.state is State.READY:
            return _server(home, seen.info, started=log is not None)
        if seen.state is State.ABSENT:
            if log is not None:
                raise _failure(home, log)
            with home.try_lock() as mine:
                # The process that had the lock before may have started the server.
                if mine and _probe_steady(home).state is State.ABSENT:
                    log = _start(home)
        if seen.progress != progress:
            progress, end = seen.progress, time.monotonic() + SILENCE_TIMEOUT
        if time.monotonic() > end:
            raise BrokerError(_silence(home, seen))
        time.sleep(TICK)


def status(directory: Path | None = None) -> EmbeddedServer | None:
    """The embedded server if it runs; nothing is started.

    Raises:
        BrokerError: the server runs and does not answer, or another program listens on its socket.
    """
    home = StateDirectory.locate(directory)
    with _explained(home):
        end = time.monotonic() + SILENCE_TIMEOUT
        # A server that is ending accepts the connection and drops it.
        while (seen := probe(home)).state is State.BUSY:
            if time.monotonic() > end:
                raise BrokerError(_silence(home, seen))
            time.sleep(TICK)
        return _server(home, seen.info, started=False) if seen.info else None


def facts(server: EmbeddedServer) -> dict[str, str]:
    """The fields of ``INFO`` of the server."""
    try:
        (info,) = ask(Path(unquote(server.url.removeprefix("unix://"))), "INFO")
    except (OSError, EOFError) as error:
        raise BrokerError(f'The embedded server (pid {server.pid}) does not answer: "{error}".') from None
    return parse_info(info)


def stop(directory: Path | None = None, timeout: float = SILENCE_TIMEOUT) -> bool:
    """Stop the embedded server; its data is written out and stays.

    Args:
        directory: another state directory than that of the user.
        timeout: seconds to wait for the end of the server.

    Returns:
        False if no server was running.

    Raises:
        BrokerError: the server does not end, or another program listens on its socket.
    """
    home = StateDirectory.locate(directory)
    with _explained(home):
        return home.path.is_dir() and _stop(home, timeout)


def _stop(home: StateDirectory, timeout: float) -> bool:
    with home.locked(timeout):
        end = time.monotonic() + timeout
        seen = _probe_steady(home, timeout / 4)
        pid = int(seen.info["process_id"]) if seen.info else _hidden(home)
        if pid is None:
            return False
        if seen.info:
            # A server that shuts down closes the connection instead of answering.
            with suppress(OSError, EOFError, ValueError):
                ask(home.socket, "SHUTDOWN", timeout=timeout / 4)
            if _ended(home, pid, time.monotonic() + timeout / 4):
                return True
        if _is_server(pid, home.socket):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if not _ended(home, pid, end):
            raise BrokerError(
                f'The embedded server (pid {pid}) did not stop within {timeout:g} s. See "{home.log}" and try again, '
                f"or as a last resort: kill -9 {pid} (jobs of the last second can be lost)."
            )
        return True


# ---- describing


def _silence(home: StateDirectory, seen: Probe) -> str:
    if seen.state is State.ABSENT:
        return home.busy()
    pid = seen.info.get("process_id") or home.pid()
    if seen.state is State.LOADING:
        done = seen.info.get("loading_loaded_perc", "0")
        return f'The embedded server (pid {pid}) has stopped loading its data at {done} %. See "{home.log}".'
    if not home.alive():
        return str(foreign(home))
    return (
        f'The embedded server (pid {pid}) accepts connections on "{home.socket}" but does not answer. '
        f'See "{home.log}"; to restart it: aiotask server stop.'
    )


def _server(home: StateDirectory, info: Mapping[str, str], *, started: bool) -> EmbeddedServer:
    valkey = info.get("valkey_version")
    return EmbeddedServer(
        url=f"unix://{quote(os.fsencode(home.socket))}",
        pid=int(info["process_id"]),
        kind="valkey" if valkey else "redis",
        version=valkey or info["redis_version"],
        directory=home.path,
        secret=home.secret(),
        started=started,
    )


# ---- starting and stopping; under the lock


def _start(home: StateDirectory) -> int:
    """Start the server and wait until it answers; returns the offset in bytes at which its log lines begin."""
    if (pid := _hidden(home)) is not None:
        raise BrokerError(
            f'The embedded server (pid {pid}) is running, but its socket "{home.socket}" is missing or not visible '
            "to this process. To restart it: aiotask server stop."
        )
    writer = home.writer() if home.has_data() else None
    binary = choose(writer, home.data)
    home.data.mkdir(mode=0o700, exist_ok=True)
    if writer is None:
        home.record(binary)
    log = home.begin_log()
    _launch(home, binary)
    _await_answer(home, log)
    # Only now: a server that cannot read the data must not be recorded as its writer.
    home.record(binary)
    return log


def _launch(home: StateDirectory, binary: ServerBinary) -> None:
    arguments: list[tuple[str, str | Path]] = [
        ("--port", "0"),
        ("--unixsocket", home.socket),
        ("--unixsocketperm", "700"),
        ("--dir", home.data),
        ("--appendonly", "yes"),
        ("--appendfsync", "everysec"),
        ("--save", ""),
        ("--logfile", home.log),
        ("--pidfile", home.pid_file),
        # The part that _is_server checks comes first, since a title is cut at 255 bytes.
        ("--proc-title-template", "aiotask {listen-addr} {title}"),
        # The server forks once more, so that this process has no child to reap.
        ("--daemonize", "yes"),
    ]
    alive = home.lock_alive()
    try:
        with open(home.log, "ab", opener=private) as output:
            subprocess.run(
                [os.fspath(part) for part in (binary.path, *chain(*arguments))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home.data,
                # With a LANG that is not installed the server would refuse to start.
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=[alive],
                start_new_session=True,
                umask=0o077,
                timeout=SILENCE_TIMEOUT,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"{binary} did not start within {SILENCE_TIMEOUT:g} s.") from None
    finally:
        os.close(alive)


def _await_answer(home: StateDirectory, log: int) -> None:
    end = time.monotonic() + SILENCE_TIMEOUT
    while probe(home).state is State.ABSENT:
        if not home.alive() or time.monotonic() > end:
            raise _failure(home, log)
        time.sleep(TICK)


@contextmanager
def _explained(home: StateDirectory) -> Iterator[None]:
    """Raise an OSError (a full disk, a read-only or foreign file) as a BrokerError with the file and the reason."""
    try:
        yield
    except OSError as error:
        where = error.filename or home.path
        raise BrokerError(
            f'The embedded server needs "{where}", but could not use it: {error.strerror}{_space_left(home)}. '
            "Free some space, give this user permission to write there, or set AIOTASK_HOME to another directory."
        ) from error


def _failure(home: StateDirectory, log: int) -> BrokerError:
    said = home.log_since(log)
    words = f'The end of its log, "{home.log}":\n{said}' if said else f'It logged nothing in "{home.log}".'
    return BrokerError(f'The embedded server did not start in "{home.path}"{_space_left(home)}. {words}')


def _space_left(home: StateDirectory) -> str:
    """A remark for an error when the disk is nearly full; else empty."""
    with suppress(OSError):
        free = shutil.disk_usage(home.path).free
        if free < 16 * 1024 * 1024:
            return f" (only {free // 1024:,} KB are free on that disk)"
    return ""


def _probe_steady(home: StateDirectory, timeout: float | None = None) -> Probe:
    """Probe, and wait up to a second where lock and socket disagree because the server starts or stops."""
    end = time.monotonic() + _TRANSITION_TIMEOUT
    while (seen := probe(home, timeout)).state is State.ABSENT and home.alive() and time.monotonic() < end:
        time.sleep(TICK)
    return seen


def _hidden(home: StateDirectory) -> int | None:
    """The pid of a server of this directory that lives although its socket cannot be reached.

    Raises:
        BrokerError: the server lives on another host.
    """
    if not home.alive():
        return None
    pid = home.pid()
    if pid is not None and _is_server(pid, home.socket):
        return pid
    if (host := home.host()) not in ("", socket.gethostname()):
        raise BrokerError(
            f'The embedded server of "{home.path}" runs on the host "{host}", where a unix socket cannot be reached '
            "from here. "
            "Set AIOTASK_HOME to a directory of this host, or AIOTASK_URL to a server that both can reach. "
            f'If that host no longer exists, remove "{home.path / "server.alive"}".'
        )
    return None


def _is_server(pid: int, path: Path) -> bool:
    """Whether the process is the server of this socket, which its title names: process ids are reused."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
        asked = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        title = asked.stdout
    return title.startswith(b"aiotask ") and os.fsencode(path) in title


def _ended(home: StateDirectory, pid: int, end: float) -> bool:
    """Wait until the server has ended, at most until ``end`` (monotonic); whether it has."""
    while home.alive() and _exists(pid):
        if time.monotonic() > end:
            return False
        time.sleep(TICK)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
