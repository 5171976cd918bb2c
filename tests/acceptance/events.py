"""What tasks, hooks and providers of all processes did, in one order: each appends a line to one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from aiotask import current_job

from ..helpers import wait_until_async

__all__ = ["Event", "events", "finish_of", "mark", "retries_of"]


class Event(tuple[int, str, str, Any]):
    """Process id, job id (empty outside a job), what happened, and what belongs to it."""

    pid = property(lambda self: self[0])
    job = property(lambda self: self[1])
    what = property(lambda self: self[2])
    detail = property(lambda self: self[3])


def mark(what: str, detail: Any = None, job: str | None = None) -> None:
    """Append one line; the kernel keeps whole what one write brings."""
    line = [os.getpid(), current_job().id if job is None else job, what, detail]
    fd = os.open(Path(os.environ["TEST_LEDGER"]) / "events", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)


def events(directory: Path, job: str | None = None) -> list[Event]:
    """All events so far, or those of one job."""
    path = directory / "events"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [Event(json.loads(line)) for line in lines]
    return [each for each in found if job is None or each.job == job]


async def finish_of(directory: Path, job: str) -> Any:
    """What ``on_finish`` was called with, which happens once."""
    found = await wait_until_async(
        lambda: [each.detail for each in events(directory, job) if each.what == "finish"],
        description="on_finish was called",
    )
    assert len(found) == 1
    return found[0]


async def retries_of(directory: Path, job: str, count: int) -> list[Any]:
    """What ``on_retry`` was called with, by attempt, once there are ``count`` calls.

    Each comes from the process that gave the job back, perhaps after another process has ended the job.
    """

    def found() -> list[Any]:
        return [each.detail for each in events(directory, job) if each.what == "retry"]

    await wait_until_async(lambda: len(found()) >= count, description=f"on_retry was called {count} times")
    return sorted(found())
