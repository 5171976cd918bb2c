"""An independent witness: every process appends to a file of its own what it runs, and nobody else touches it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiotask import current_job

__all__ = ["Entry", "Ledger", "entered", "is_first", "most_at_once", "note"]


@dataclass(frozen=True)
class Entry:
    """One run of one job. Times are of the monotonic clock, which all processes of a machine share."""

    token: str
    id: str
    attempt: int
    pid: int
    label: Any
    start: float
    #: None: it has not ended, or its process died first.
    end: float | None = None


def note(**line: Any) -> None:
    """Append one line to this process's file; the kernel keeps whole what one write brings."""
    path = Path(os.environ["TEST_LEDGER"]) / f"{os.getpid()}.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)


@contextlib.contextmanager
def entered(label: Any = None) -> Iterator[int]:
    """Inside a task: this run begins, and it ends however the block ends. It gets the number of its attempt."""
    token, job = uuid4().hex, current_job()
    note(token=token, id=job.id, attempt=job.attempt, pid=os.getpid(), label=label, start=time.monotonic())
    try:
        yield job.attempt
    finally:
        note(token=token, end=time.monotonic())


def is_first(label: str) -> bool:
    """Inside a task: whether no run asked with this label before."""
    try:
        os.close(os.open(os.path.join(os.environ["TEST_LEDGER"], f"{label}.first"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Ledger:
    """All files of one directory, read anew at every look."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def runs(self, label: Any = None) -> list[Entry]:
        """Every run, or those with a label, in the order of their start."""
        starts: dict[str, dict[str, Any]] = {}
        ends: dict[str, float] = {}
        for path in self.directory.glob("*.jsonl"):
            # The last line may be one that is being written.
            for line in path.read_text().split("\n")[:-1]:
                fields = json.loads(line)
                if "start" in fields:
                    starts[fields["token"]] = fields
                else:
                    ends[fields["token"]] = fields["end"]
        entries = [Entry(**fields, end=ends.get(token)) for token, fields in starts.items()]
        return sorted(
            (entry for entry in entries if label is None or entry.label == label), key=lambda entry: entry.start
        )

    def counts(self) -> Counter[str]:
        """How often each job was run."""
        return Counter(run.id for run in self.runs())

    def ended(self, label: Any = None) -> int:
        return sum(run.end is not None for run in self.runs(label))


def most_at_once(runs: Iterable[Entry]) -> int:
    """How many of these runs were alive at the same moment at most."""
    steps = sorted(
        (moment, step)
        for run in runs
        for moment, step in ((run.start, 1), (float("inf") if run.end is None else run.end, -1))
    )
    alive = most = 0
    for _, step in steps:
        alive += step
        most = max(most, alive)
    return most
