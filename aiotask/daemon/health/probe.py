"""``aiotask doctor --live`` and ``--ready``: one question to the workers of this machine, and few imports."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...embedded.state_directory import state_directory
from ...errors import ConfigError
from .sockets import sockets_nearby

__all__ = ["nearby", "probe"]

#: Seconds that a worker has for its answer.
ANSWER_TIMEOUT = 3.0
#: Bytes of an answer.
MOST = 65536


def probe(question: str, app: str | None = None) -> tuple[bool, str]:
    """Ask every worker that is found whether it is ``live`` or ``ready``; whether all are, and one line on it.

    With ``AIOTASK_HEALTH_PORT`` it is the worker at that port, otherwise those of this user's state directory.

    Args:
        app: ask those alone that serve the app of this name. One that hangs before it can say what it serves counts.
    """
    answers = [_ask(address, question, app) for address in _addresses()]
    found = [answer for answer in answers if answer is not None]
    if not found:
        which = "no worker" if app is None else f'no worker of app "{app}"'
        return False, f"not {question}: {which} was found: {_where()}"
    well = all(fine for fine, _ in found)
    return well, f"{'' if well else 'not '}{question}: " + "; ".join(text for fine, text in found if fine is well)


def nearby() -> list[str]:
    """Process ids of the supervisors of this user that answer."""
    return [_pid(door) for door in sockets_nearby() if _ask(door, "live", None) is not None]


def _addresses() -> Iterator[tuple[str, int] | Path]:
    port = os.environ.get("AIOTASK_HEALTH_PORT", "")
    if port:
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f'AIOTASK_HEALTH_PORT="{port}" is not a port: give a number from 1 to 65535.')
        host = os.environ.get("AIOTASK_HEALTH_HOST", "")
        yield {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)
    else:
        yield from sockets_nearby()


def _where() -> str:
    if port := os.environ.get("AIOTASK_HEALTH_PORT"):
        return f"nothing answered at port {port} (AIOTASK_HEALTH_PORT)"
    return f'none has a socket in "{state_directory()}" (AIOTASK_HOME), and AIOTASK_HEALTH_PORT is not set'


def _ask(address: tuple[str, int] | Path, question: str, app: str | None) -> tuple[bool, str] | None:
    """Whether it is, and what it says; None: there is no worker, or it serves other apps."""
    name = f"the worker at port {address[1]}" if isinstance(address, tuple) else f"worker pid {_pid(address)}"
    try:
        if app is not None and not _serves(address, app):
            return None
        status, body = _get(address, f"/{question}")
    except (ConnectionRefusedError, FileNotFoundError):
        if isinstance(address, Path):
            # It died without removing its socket.
            with suppress(OSError):
                address.unlink()
        return None
    except TimeoutError:
        return False, f"{name} did not answer in {ANSWER_TIMEOUT:g} s (is it still starting?)"
    except (OSError, ValueError) as error:
        return False, f"{name} could not be asked: {error}"
    return status == 200, name if status == 200 else f"{name}: {body}"


def _serves(address: tuple[str, int] | Path, app: str) -> bool:
    import json

    status, body = _get(address, "/")
    brokers = json.loads(body).get("brokers", {}) if status == 200 else {}
    return app in brokers


def _pid(path: Path) -> str:
    found = re.search(r"\.(\d+)\.sock$", path.name)
    return found[1] if found else path.name


def _get(address: tuple[str, int] | Path, target: str) -> tuple[int, str]:
    """Status and body of the answer; ValueError if it is none."""
    if isinstance(address, Path):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(ANSWER_TIMEOUT)
    else:
        made = socket.create_connection(address, ANSWER_TIMEOUT)
    with made:
        if isinstance(address, Path):
            made.connect(str(address))
        made.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while len(answer) < MOST and (data := made.recv(MOST)):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 3 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError("what answers there is not a worker")
    return int(words[1]), body.decode("utf-8", "replace").strip()
