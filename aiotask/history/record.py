"""JobRecord: one row of the history, as far as it can be read."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..job import Status
from .file import COLUMNS

__all__ = ["JobRecord", "read_record"]


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished job as it is recorded in the history file. Times are Unix seconds.

    ``arguments`` and ``result`` are text for people: JSON if the value has a JSON form, else a short repr or a note.
    A column that cannot be read is None (``id``, ``app`` and ``task``: empty), and ``error`` names it.
    """

    id: str
    app: str
    task: str
    queue: str | None
    status: Status | None
    deps: tuple[str, ...]
    attempts: int | None
    worker: str | None
    arguments: str | None
    result: str | None
    error: str | None
    traceback: str | None
    sent_at: float | None
    started_at: float | None
    finished_at: float | None
    #: The sealed bytes that travelled.
    job: bytes | None
    outcome: bytes | None
    #: Seconds of CPU and bytes of memory at most that the last run used; None: it was too short to be measured.
    cpu: float | None = None
    memory: int | None = None
    #: Ids of the job that sent this one, and of its graph; None: no job did, it is in none.
    parent: str | None = None
    graph: str | None = None
    #: The runs before the last one as JSON: a list of when (Unix seconds), worker, how and error; None: there was none.
    trail: str | None = None

    def __repr__(self) -> str:
        return f"<JobRecord {self.id} {self.task} {self.status}>"


def read_record(row: tuple[Any, ...]) -> JobRecord:
    """The record in a row, as far as it can be read: SQLite does not enforce the types of columns."""
    notes: list[str] = []
    columns = dict(zip(COLUMNS, row, strict=True))
    for name, value in columns.items():
        kinds = _KINDS.get(name, (str,))
        if value is not None and not isinstance(value, kinds):
            notes.append(f"column {name} holds {str(value)[:80]!r}")
            columns[name] = None
    status, deps = columns["status"], columns["deps"]
    if status not in Status.__members__:
        notes.append(f"unknown status {str(status)[:80]!r}")
    try:
        columns["deps"] = tuple(map(str, json.loads(deps or "[]")))
    except (ValueError, TypeError, RecursionError):
        notes.append(f"column deps holds {deps[:80]!r}")
        columns["deps"] = ()
    columns["status"] = Status.__members__.get(status)
    for name in ("id", "app", "task"):
        columns[name] = columns[name] or ""
    if notes:
        note = f"This row is damaged: {'; '.join(notes)}."
        columns["error"] = f"{columns['error']}\n{note}" if columns["error"] else note
    return JobRecord(**columns)


_KINDS: dict[str, tuple[type, ...]] = {
    "attempts": (int,),
    "sent_at": (float, int),
    "started_at": (float, int),
    "finished_at": (float, int),
    "job": (bytes,),
    "outcome": (bytes,),
    "cpu": (float, int),
    "memory": (int,),
}
