"""Probes the embedded server through its socket, without the redis library, in well under 1 ms."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

from ..errors import BrokerError
from .state_directory import StateDirectory

__all__ = ["SILENCE_TIMEOUT", "Probe", "State", "ask", "foreign", "parse_info", "probe"]

#: Seconds without an answer or progress after which the server is given up.
SILENCE_TIMEOUT = 10.0
_CLOSED = "the server closed the connection"


class State(Enum):
    """The state of the server, as far as its socket shows."""

    ABSENT = auto()  # no process listens
    BUSY = auto()  # a process listens and does not answer now
    LOADING = auto()
    READY = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one probe of the socket."""

    state: State
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def progress(self) -> str:
        """A text that changes while the server loads its data."""
        return self.info.get("loading_loaded_bytes", "")


def probe(home: StateDirectory, timeout: float | None = None) -> Probe:
    """Probe the socket of this directory once.

    Raises:
        BrokerError: another program listens there, or the socket belongs to another user.
    """
    home.check_socket()
    try:
        # Not PING: with a full disk it answers MISCONF.
        server, persistence, data = ask(
            home.socket, "INFO server", "INFO persistence", "CONFIG GET dir", timeout=timeout
        )
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return Probe(State.ABSENT)
    except PermissionError:
        raise BrokerError(f'The socket "{home.socket}" belongs to another user. Set AIOTASK_HOME.') from None
    except (OSError, EOFError):
        return Probe(State.BUSY)
    except ValueError:
        raise foreign(home) from None
    if server.startswith("-BUSY"):
        return Probe(State.BUSY)
    info = parse_info(server + persistence)
    if not _is_ours(home, info, data):
        raise foreign(home)
    return Probe(State.LOADING if info.get("loading") == "1" else State.READY, info)


def ask(path: Path, *commands: str, timeout: float | None = None) -> list[str]:
    """The server's answers as text, "-" in front of an error, the items of an array joined by line ends.

    Raises:
        OSError, EOFError: there is no connection, or it ended.
        ValueError: the answer is not in the protocol.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SILENCE_TIMEOUT if timeout is None else timeout)
        connection.connect(os.fspath(path))
        connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        with connection.makefile("rb") as stream:
            return [_read(stream) for _ in commands]


def _read(stream: BinaryIO) -> str:
    line = stream.readline(4096)
    if not line:
        raise EOFError(_CLOSED)
    kind, rest = line[:1], line[1:].rstrip(b"\r\n").decode(errors="replace")
    match kind:
        case b"+":
            return rest
        case b"-":
            return f"-{rest}"
        case b"$":
            body = stream.read(int(rest) + 2)
            if not body.endswith(b"\r\n"):
                raise EOFError(_CLOSED)
            return os.fsdecode(body[:-2])
        case b"*":
            return "\n".join(_read(stream) for _ in range(int(rest)))
    raise ValueError(line)


def parse_info(text: str) -> dict[str, str]:
    """The lines of an ``INFO`` answer."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _is_ours(home: StateDirectory, info: Mapping[str, str], data: str) -> bool:
    """Whether the server works in this directory, or, seen from another container, has written its pid there."""
    with suppress(OSError, ValueError):
        if os.path.samefile(data.partition("\n")[2], home.data):
            return True
    return info.get("process_id", "") == str(home.pid())


def foreign(home: StateDirectory) -> BrokerError:
    """The error for a socket on which another program listens."""
    return BrokerError(
        f'Another program listens on the socket of the embedded server, "{home.socket}". '
        "Stop that program, or set AIOTASK_HOME to another directory, or AIOTASK_URL to a server of your own."
    )
