"""Finished jobs as the recorder gets them, and a look into the file that needs no line of ours."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiotask.brokers.history import HistoryRow
from aiotask.job import WIRE_VERSION, Job, Meta, More, Status, encode_job
from aiotask.outcome import ErrorInfo, Outcome, encode_outcome
from aiotask.wire.seal import Sealer

__all__ = [
    "ROOT",
    "SECRET",
    "START",
    "TASK",
    "Canary",
    "batch",
    "count",
    "finished",
    "is_intact",
    "pickled",
    "python",
    "sqlite",
    "started",
]

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a secret of the tests"
TASK = "shop.tasks:render"
#: A moment that every test counts from (Unix seconds): two days ago, so that nothing is too old for the history.
START = float(int(time.time()) - 2 * 86_400)


class Canary:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def pickled(value: Any) -> bytes:
    return b"P" + pickle.dumps(value, 5)


def finished(
    id: str,
    value: Any = None,
    *,
    args: tuple[Any, ...] = (),
    body: bytes | None = None,
    result: bytes | None = None,
    status: Status = Status.SUCCESS,
    error: ErrorInfo | None = None,
    task: str = TASK,
    queue: str = "default",
    attempt: int = 1,
    finished_at: float = START,
    secret: str = SECRET,
    more: More | None = None,
    graph: str = "",
) -> HistoryRow:
    """A finished job as the recorder gets it from the broker."""
    body = pickled((args, {})) if body is None else body
    job = Job(WIRE_VERSION, id, task, queue, body, sent_at=finished_at - 2, more=more)
    if result is None and status is Status.SUCCESS:
        result = pickled(value)
    began = finished_at - 1
    outcome = Outcome(
        WIRE_VERSION, id, task, status, attempt, "host-7-1", began, finished_at, value=result, error=error, graph=graph
    )
    return HistoryRow(
        entry=f"1-{id}",
        job=Sealer([secret], "job").seal(encode_job(job)),
        outcome=Sealer([secret], "outcome").seal(encode_outcome(outcome)),
        meta=Meta(),
    )


def batch(prefix: str, size: int) -> list[HistoryRow]:
    return [finished(f"{prefix}-{number}", number, args=(number,)) for number in range(size)]


def sqlite(path: Path, sql: str, *values: Any) -> list[Any]:
    """Anybody's look into the file, without a line of ours."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql, values).fetchall()


def is_intact(path: Path) -> bool:
    return sqlite(path, "PRAGMA integrity_check") == [("ok",)]


def count(path: Path) -> int:
    return int(sqlite(path, "SELECT count(*) FROM jobs")[0][0])


def recorded(path: Path) -> int:
    """The same; 0 where there is no history yet."""
    try:
        return count(path)
    except sqlite3.OperationalError:
        return 0


def python(code: str, *arguments: object) -> str:
    """Run it in a process of its own, to its good end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def started(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The same, going on meanwhile; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
