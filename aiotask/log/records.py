"""The job on every log record that is made while its code runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import thread as pools
from typing import Any

__all__ = ["FIELDS", "JOB", "TRACE", "add_job_fields", "add_trace_fields"]

#: Attributes of a record that name the job; outside a job they are empty.
FIELDS = ("job_id", "task", "attempt", "queue", "worker")
#: The same for the trace that the job is part of, where tracing is in use; hexadecimal, as OpenTelemetry writes them.
TRACE = ("trace_id", "span_id")
#: Attribute with all fields once more, which no ``extra`` of user code replaces.
JOB = "aiotask_job"

_nowhere: Mapping[str, Any] = {"job_id": "", "task": "", "attempt": 0, "queue": "", "worker": ""}

_job: Callable[[], Mapping[str, Any] | None] | None = None
_trace: Callable[[], Mapping[str, str]] | None = None
_worker = ""


class _Attributes(dict[str, Any]):
    """The attributes of a record. ``Logger.makeRecord`` refuses an ``extra`` that replaces one, and user code may well
    pass a ``task`` or a ``job_id`` of its own: those may be replaced."""

    def __contains__(self, key: object) -> bool:
        return key not in FIELDS and key not in TRACE and super().__contains__(key)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def add_job_fields(job: Callable[[], Mapping[str, Any] | None], worker: str = "") -> None:
    """Add the fields of the current job to all records from now on. Only the first call in a process has an effect.

    A record costs a microsecond more, a job nothing. Threads that a job starts count as the job's, but for those of a
    ``ThreadPoolExecutor``, which serve many jobs.

    Args:
        job: the ``FIELDS`` of the job that runs in this thread or asyncio task; None outside a job.
        worker: how the log calls this process; empty: the worker's name in the job's fields stays.
    """
    global _job, _worker, _nowhere
    if _job is not None:
        return
    _job, _worker, _nowhere = job, worker, {**_nowhere, "worker": worker}
    make = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        fields = _fields()
        attributes = _Attributes(vars(record))
        attributes.update(fields)
        attributes[JOB] = fields
        record.__dict__ = attributes
        return record

    logging.setLogRecordFactory(factory)
    _follow_threads()


def add_trace_fields(trace: Callable[[], Mapping[str, str]]) -> None:
    """Add the trace to records that name their job, from now on; to the other ones empty fields.

    Args:
        trace: the ``TRACE`` of this thread or asyncio task; empty: there is none.
    """
    global _trace, _nowhere
    _trace, _nowhere = trace, {**_nowhere, **dict.fromkeys(TRACE, "")}


def _here() -> Mapping[str, Any] | None:
    """The fields of the job that runs in this context; None: there is none."""
    fields = _job() if _job is not None else None
    if fields is None or _trace is None:
        return fields
    return {**fields, **dict.fromkeys(TRACE, ""), **_trace()}


def _fields() -> Mapping[str, Any]:
    """The fields of the job that runs in this context, or of the one that has started this thread."""
    fields = _here() or getattr(threading.current_thread(), JOB, None)
    if fields is None:
        return _nowhere
    return {**fields, "worker": _worker} if _worker else fields


def _follow_threads() -> None:
    """Note on each new thread, which begins with an empty context, the job that has started it."""
    begin = threading.Thread.start

    def start(self: threading.Thread) -> None:
        fields = _here() or getattr(threading.current_thread(), JOB, None)
        if fields is not None and getattr(self, "_target", None) is not pools._worker:
            setattr(self, JOB, fields)
        begin(self)

    threading.Thread.start = start  # type: ignore[method-assign]
