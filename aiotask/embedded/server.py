"""The embedded server: a private Redis or Valkey per user, started by whoever needs it first.

It belongs to nobody: it listens on a unix socket only, runs in its own session, keeps its data in
an append-only file, and stays until ``aiotask server stop``. The state directory holds:

=============  =====================================================================================
server.sock    its socket (in ``/tmp/aiotask-UID`` when the path would be too long for a socket)
server.json    kind, version and program of the server that wrote ``data``; host; socket
server.log     what it says; an older part is ``server.log.1``
server.pid     its process id, written by the server and removed by it at a clean end
server.lock    flock of whoever starts or stops it
server.alive   flock that the server inherits and holds while it lives
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
from .probe import PATIENCE, Probe, State, ask, foreign, parse_info, probe
from .state_directory import TICK, StateDirectory, private, state_directory

__all__ = ["EmbeddedServer", "announce", "ensure", "facts", "refuse_in_tests", "state_directory", "status", "stop"]

#: Seconds that lock and socket may disagree: a server that is just coming up or going down.
_BETWEEN = 1.0


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server."""

    #: ``unix:///…`` with percent escapes, as redis-py reads it.
    url: str
    pid: int
    #: ``valkey`` or ``redis``.
    kind: str
    version: str
    #: Its state directory.
    directory: Path
    #: Key of the seal.
    secret: str = field(repr=False)
    #: This very call started it.
    started: bool


def announce(server: EmbeddedServer) -> str:
    """What to tell the user, once, about a server that was started for them."""
    return (
        f"Started the embedded server: {product(server.kind)} {server.version}, pid {server.pid}, data in "
        f'"{server.directory}". It keeps running until "aiotask server stop". To use a server of your own, set '
        "AIOTASK_URL."
    )


def refuse_in_tests() -> None:
    """Raise ConfigError in a test run that has not asked for the embedded server.

    It would be the developer's: it goes on running, and the jobs of the tests stay there for the developer's workers.
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
    """Finds the embedded server, or starts it and waits until its data is loaded. Blocks.

    Args:
        directory: another state directory than that of the user.

    Raises:
        ConfigError: it is switched off, its directory cannot be used, no server program is here, or
            none that can read the data.
        BrokerError: it does not come up or does not answer; with the last lines of its log.
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
    progress, end = "", time.monotonic() + PATIENCE
    while True:
        seen = probe(home)
        if seen.state is State.READY:
            return _server(home, seen.info, started=log is not None)
        if seen.state is State.ABSENT:
            if log is not None:
                raise _failure(home, log)
            with home.try_lock() as mine:
                # Whoever had the lock before may have started it.
                if mine and _settle(home).state is State.ABSENT:
                    log = _start(home)
        if seen.progress != progress:
            progress, end = seen.progress, time.monotonic() + PATIENCE
        if time.monotonic() > end:
            raise BrokerError(_silence(home, seen))
        time.sleep(TICK)


def status(directory: Path | None = None) -> EmbeddedServer | None:
    """The embedded server if it runs; nothing is started.

    Raises:
        BrokerError: it runs and does not answer, or something else listens on its socket.
    """
    home = StateDirectory.locate(directory)
    with _explained(home):
        end = time.monotonic() + PATIENCE
        # One that is just ending takes the connection and drops it.
        while (seen := probe(home)).state is State.BUSY:
            if time.monotonic() > end:
                raise BrokerError(_silence(home, seen))
            time.sleep(TICK)
        return _server(home, seen.info, started=False) if seen.info else None


def facts(server: EmbeddedServer) -> dict[str, str]:
    """Everything that ``INFO`` says about the server."""
    try:
        (info,) = ask(Path(unquote(server.url.removeprefix("unix://"))), "INFO")
    except (OSError, EOFError) as error:
        raise BrokerError(f'The embedded server (pid {server.pid}) does not answer: "{error}".') from None
    return parse_info(info)


def stop(directory: Path | None = None, timeout: float = PATIENCE) -> bool:
    """Stops the embedded server; its data is written out and stays.

    Args:
        directory: another state directory than that of the user.
        timeout: seconds to wait for its end.

    Returns:
        False if none was running.

    Raises:
        BrokerError: it does not end, or something else listens on its socket.
    """
    home = StateDirectory.locate(directory)
    with _explained(home):
        return home.path.is_dir() and _stop(home, timeout)


def _stop(home: StateDirectory, timeout: float) -> bool:
    with home.locked(timeout):
        end = time.monotonic() + timeout
        seen = _settle(home, timeout / 4)
        pid = int(seen.info["process_id"]) if seen.info else _hidden(home)
        if pid is None:
            return False
        if seen.info:
            # A server that obeys ends the connection instead of an answer.
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


# ---- looking


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


# ---- coming and going; under the lock


def _start(home: StateDirectory) -> int:
    """Starts the server and waits until it answers; returns where its lines in the log begin."""
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
    # Only now: one that cannot read the data must not pass for its writer.
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
        # What _is_server looks for comes first: a title is cut at 255 bytes.
        ("--proc-title-template", "aiotask {listen-addr} {title}"),
        # It forks once more and leaves no child behind that this process would have to reap.
        ("--daemonize", "yes"),
    ]
    alive = home.hold_alive()
    try:
        with open(home.log, "ab", opener=private) as output:
            subprocess.run(
                [os.fspath(part) for part in (binary.path, *chain(*arguments))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home.data,
                # A LANG that is not installed here would make it refuse to start.
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=[alive],
                start_new_session=True,
                umask=0o077,
                timeout=PATIENCE,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"{binary} did not start within {PATIENCE:g} s.") from None
    finally:
        os.close(alive)


def _await_answer(home: StateDirectory, log: int) -> None:
    end = time.monotonic() + PATIENCE
    while probe(home).state is State.ABSENT:
        if not home.alive() or time.monotonic() > end:
            raise _failure(home, log)
        time.sleep(TICK)


@contextmanager
def _explained(home: StateDirectory) -> Iterator[None]:
    """A full disk, a read-only or foreign file: what the system says, and where."""
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
    """A remark when the disk is as good as full."""
    with suppress(OSError):
        free = shutil.disk_usage(home.path).free
        if free < 16 * 1024 * 1024:
            return f" (only {free // 1024:,} KB are free on that disk)"
    return ""


def _settle(home: StateDirectory, timeout: float | None = None) -> Probe:
    """A look that is not deceived by a server that is just coming up or going down."""
    end = time.monotonic() + _BETWEEN
    while (seen := probe(home, timeout)).state is State.ABSENT and home.alive() and time.monotonic() < end:
        time.sleep(TICK)
    return seen


def _hidden(home: StateDirectory) -> int | None:
    """The pid of a server of this directory that lives although nobody can reach it.

    Raises:
        BrokerError: it lives on another host.
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
    """Whether the process is our server: ids are used again. Its title names the socket."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return False
        asked = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        title = asked.stdout
    return title.startswith(b"aiotask ") and os.fsencode(path) in title


def _ended(home: StateDirectory, pid: int, end: float) -> bool:
    """Waits for the end of the server, at most until then."""
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
