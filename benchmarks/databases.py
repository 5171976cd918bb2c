"""Databases for rows: SQLite files, and a private PostgreSQL with its default settings if it is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from uuid import uuid4

from .figure import Failed

__all__ = ["KINDS", "databases"]

#: Kinds of databases, as they are called in figures.
KINDS = ("SQLite", "PostgreSQL")

#: Seconds that PostgreSQL may take to answer.
_ANSWER_TIMEOUT = 60.0


@contextlib.contextmanager
def databases(kinds: Collection[str] = KINDS) -> Iterator[dict[str, Callable[[], str]]]:
    """By the name of the kind, a function that returns the URL of a new, empty database; all are deleted afterwards.

    Args:
        kinds: those that are wanted; one that is not installed is left out.

    Raises:
        Failed: none of them is installed.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiotask-bench-rows-")))
        found: dict[str, Callable[[], str]] = {}
        if "SQLite" in kinds:
            found["SQLite"] = lambda: f"sqlite:///{folder / uuid4().hex}.db"
        programs = _programs() if "PostgreSQL" in kinds else None
        if programs is not None:
            found["PostgreSQL"] = stack.enter_context(_postgres(programs))
        if not found:
            raise Failed("PostgreSQL is not installed (initdb).")
        yield found


def _programs() -> Path | None:
    """The folder of PostgreSQL's server programs; None: it is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


@contextlib.contextmanager
def _postgres(programs: Path) -> Iterator[Callable[[], str]]:
    # PostgreSQL refuses to run as root. Short: the path of a socket holds some 100 bytes.
    user = "nobody" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="aiotask-bench-pg-", dir="/tmp"))
    try:
        if user:
            owner = pwd.getpwnam(user)
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        data, log = directory / "data", directory / "log"
        made: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "bench",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        subprocess.run(made, user=user, cwd="/", check=True, capture_output=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses="],
                user=user,
                cwd="/",
                stdout=output,
                stderr=output,
            )
        try:
            _wait_for(process, [programs / "pg_isready", "-h", directory, "-q"], log)
            psql: list[str | Path] = [programs / "psql", "-h", directory, "-U", "bench", "-d", "postgres", "-qc"]
            yield lambda: _create(psql, directory)
        finally:
            # A fast shutdown: at SIGTERM it would wait for the connections of this process.
            process.send_signal(signal.SIGINT)
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _create(psql: list[str | Path], directory: Path) -> str:
    name = f"bench_{uuid4().hex[:12]}"
    subprocess.run([*psql, f"CREATE DATABASE {name}"], check=True)
    return f"postgresql+psycopg://bench@/{name}?host={directory}"


def _wait_for(process: subprocess.Popen[bytes], ask: list[str | Path], log: Path) -> None:
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while subprocess.run(ask, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"PostgreSQL does not answer. Its log:\n{log.read_text()}")
        time.sleep(0.05)
