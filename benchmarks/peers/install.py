"""A virtual environment for each peer: made once, used again until a version or the Python changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from .catalog import OURS, Peer

__all__ = ["CannotInstall", "Environment", "cache", "install", "interpreter"]

#: Seconds that one call of pip may take.
_PIP_TIMEOUT = 600
_STAMP = "installed.json"
_VERSIONS = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"


class CannotInstall(Exception):
    """Why a peer is left out."""


class Environment:
    """The Python of one peer, and what is installed for it."""

    def __init__(self, peer: Peer, python: Path, versions: dict[str, str], python_version: str) -> None:
        self.peer = peer
        self.python = python
        self.versions = versions
        self.python_version = python_version
        #: Worker commands by mode and number of processes, as the adapter has told them.
        self.commands: dict[tuple[str, int], list[list[str]]] = {}

    @property
    def release(self) -> str:
        """Version of the queue itself."""
        package = self.peer.requires[0].partition("=")[0].partition("[")[0] if self.peer.requires else self.peer.name
        return self.versions.get(package.lower(), "?")


def cache() -> Path:
    """Where the environments are by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiotask-benchmarks"


def install(peer: Peer, directory: Path, python312: str | None, say: Callable[[str], None]) -> Environment:
    """The environment of a peer; aiotask itself runs in the one that measures.

    Raises:
        CannotInstall: there is no Python for it, or pip failed.
    """
    if peer.name == OURS:
        return Environment(peer, Path(sys.executable), _versions(Path(sys.executable)), _version(sys.executable))
    base = interpreter(peer.python, python312)
    place = directory / peer.name
    python = place / "bin" / "python"
    wanted = {"requires": list(peer.requires), "python": _version(str(base))}
    stamp = place / _STAMP
    if not (python.exists() and stamp.exists() and json.loads(stamp.read_text()).get("wanted") == wanted):
        say(f"installing {peer.title}")
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _run([str(base), "-m", "venv", str(place)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requires])
        stamp.write_text(json.dumps({"wanted": wanted, "versions": _versions(python)}, indent=1) + "\n")
    return Environment(peer, python, json.loads(stamp.read_text())["versions"], wanted["python"])


def interpreter(oldest: tuple[int, int], python312: str | None) -> Path:
    """A Python that is new enough: the one that runs this, else one that was named or is found.

    Raises:
        CannotInstall: there is none.
    """
    if sys.version_info[:2] >= oldest:
        return Path(sys.executable)
    dotted = ".".join(map(str, oldest))
    for command in _candidates(dotted, python312):
        environment = {**os.environ, "PYENV_VERSION": dotted}
        code = "import sys; print(sys.executable); print(sys.version_info >= " + repr(oldest) + ")"
        try:
            asked = subprocess.run([command, "-c", code], env=environment, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = asked.stdout.split("\n")
        if asked.returncode == 0 and lines[1:2] == ["True"]:
            return Path(lines[0])
    raise CannotInstall(
        f"it needs Python {dotted}, which is not here: install it, or name it with --python3.12 or $AIOTASK_PYTHON312"
    )


def _candidates(dotted: str, python312: str | None) -> Iterator[str]:
    named = python312 or os.environ.get("AIOTASK_PYTHON312")
    if named:
        yield named
        return
    on_path = shutil.which(f"python{dotted}")
    if on_path:
        yield on_path
    uv = shutil.which("uv")
    if uv:
        found = subprocess.run([uv, "python", "find", dotted], capture_output=True, text=True)
        if found.returncode == 0:
            yield found.stdout.strip()


def _version(python: str) -> str:
    return subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _versions(python: Path) -> dict[str, str]:
    if str(python) == sys.executable:
        return {each.name.lower(): each.version for each in metadata.distributions()}
    said = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout
    return {name.lower(): version for name, version in json.loads(said).items()}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PIP_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(f"{type(error).__name__}: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CannotInstall(said[-1] if said else f'"{command[0]}" ended with code {done.returncode}')
