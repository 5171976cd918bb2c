"""The independent ledger: every run of every job, written by the tasks themselves.

Each process appends to a file of its own in a directory that no fault touches: a line when a run
begins and one when it ends. A process that dies in between leaves only the first, which says so.
Times are of the monotonic clock, which all processes of a machine share, and of the wall clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiotask import JobContext, current_job

__all__ = ["Attempt", "Ledger", "PlannedError", "attempt", "attempts", "jot"]

#: The environment variable with the directory.
VARIABLE = "CHAOS_LEDGER"


class PlannedError(Exception):
    """What a task raises because it was told to; its first argument is the token of the attempt."""


class _Pen:
    """This process's file. One write is one line, and the kernel keeps it whole."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.prefix = uuid4().hex[:12]
        self.count = 0
        path = Path(os.environ[VARIABLE]) / f"{self.pid}-{self.prefix}.log"
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def token(self) -> str:
        self.count += 1
        return f"{self.prefix}.{self.count}"

    def write(self, line: str) -> None:
        os.write(self.fd, line.encode())


_pen: _Pen | None = None


def _the_pen() -> _Pen:
    global _pen
    if _pen is None or _pen.pid != os.getpid():
        _pen = _Pen()
    return _pen


class attempt:
    """Inside a task: this run begins, and ends however the block ends. It gets the token of the run.

    Args:
        job: which one runs; None: the current job.
        key: of its limit.
    """

    __slots__ = ("_job", "_key", "_pen", "token")

    def __init__(self, job: JobContext | None = None, key: str = "") -> None:
        self._job, self._key = job, key

    def __enter__(self) -> str:
        pen, job = _the_pen(), self._job or current_job()
        self._pen = pen
        self.token = pen.token()
        pen.write(
            f"S\t{self.token}\t{job.id}\t{pen.pid}\t{job.attempt}\t{time.monotonic():.6f}\t{time.time():.6f}"
            f"\t{job.job.task}\t{self._key}\n"
        )
        return self.token

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        outcome = "ok" if kind is None else kind.__name__
        self._pen.write(f"E\t{self.token}\t{time.monotonic():.6f}\t{outcome}\n")


@contextlib.contextmanager
def attempts() -> Iterator[list[str]]:
    """Inside a batch task: a run of each item begins, and ends however the block ends. It gets their tokens."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(attempt(job)) for job in current_job().items]


def jot(**fields: Any) -> None:
    """A line of the trial's own; ``Ledger.notes`` has them, with ``pid`` and ``at`` (monotonic)."""
    pen = _the_pen()
    pen.write("N\t" + json.dumps({"pid": pen.pid, "at": time.monotonic(), **fields}) + "\n")


@dataclass(slots=True)
class Attempt:
    """One run of one job."""

    token: str
    id: str
    pid: int
    #: Which attempt aiotask said it was.
    number: int
    start: float
    wall: float
    task: str
    #: None: its process died first, or it still runs.
    end: float | None = None
    #: ``ok``, or the name of the exception's class.
    outcome: str = ""
    #: That of its limit.
    key: str = ""


@dataclass
class Ledger:
    """All files of the directory, as they were when it was read."""

    attempts: dict[str, Attempt] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Ledger:
        ledger = cls()
        for path in sorted(directory.glob("*.log")):
            text = path.read_text()
            # What stands behind the last newline is being written right now.
            for line in text[: text.rfind("\n") + 1].splitlines():
                ledger._add(line)
        return ledger

    def _add(self, line: str) -> None:
        kind, _, rest = line.partition("\t")
        if kind == "S":
            token, id, pid, number, start, wall, task, key = rest.split("\t")
            self.attempts[token] = Attempt(token, id, int(pid), int(number), float(start), float(wall), task, key=key)
        elif kind == "E":
            token, end, outcome = rest.split("\t")
            run = self.attempts[token]
            run.end, run.outcome = float(end), outcome
        else:
            self.notes.append(json.loads(rest))

    @cached_property
    def by_job(self) -> dict[str, list[Attempt]]:
        """The runs of each job in the order of their start."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for run in sorted(self.attempts.values(), key=lambda run: run.start):
            found[run.id].append(run)
        return dict(found)

    def running(self, task: str = "") -> list[Attempt]:
        """Runs without an end, of tasks whose name ends so."""
        return [run for run in self.attempts.values() if run.end is None and run.task.endswith(task)]
