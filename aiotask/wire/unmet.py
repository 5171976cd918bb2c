"""DependencyFailed in the form in which it is sent: why a job was not run, made without loading any error."""

from __future__ import annotations

import msgspec

from ..errors import DependencyFailed
from ..outcome import ErrorInfo, Outcome

__all__ = ["error_behind", "error_without", "shown"]

_TYPE = f"{DependencyFailed.__module__}.{DependencyFailed.__qualname__}"
#: Characters of another job's error in the text of this one.
_LENGTH = 500


def error_behind(upstream: Outcome) -> ErrorInfo:
    """The error of a job behind one that has ended without a value.

    It names the first job that failed: where that one was not run either, its error is handed on as it is.
    """
    error = upstream.error
    if error is not None and error.type == _TYPE and not upstream.started_at:
        return error
    # A cancel by the id alone does not know the task.
    task = f" ({upstream.task})" if upstream.task else ""
    text = f'This job was not run because job "{upstream.id}"{task}, upstream of it, '
    if error is None:
        return ErrorInfo(_TYPE, f"{text}ended as {upstream.status}.", about=upstream.id, task=upstream.task)
    said = f"{text}ended as {upstream.status}: {error.type.rpartition('.')[2]}: {error.message[:_LENGTH]}"
    # What the error says of the job that it is about, its own text says; this is the job that has ended with it.
    cause = msgspec.structs.replace(error, about=error.about or upstream.id)
    return ErrorInfo(_TYPE, said, cause=cause, about=upstream.id, task=upstream.task)


def error_without(id: str, why: str) -> ErrorInfo:
    """The error of a job whose upstream job ``id`` has no outcome that can be used, for the reason given."""
    text = f'This job was not run because the value of job "{id}", upstream of it, cannot be used: {why}'
    return ErrorInfo(_TYPE, text, about=id)


def shown(info: ErrorInfo) -> DependencyFailed:
    """The exception for the log and the verdict; callers get theirs from the outcome."""
    error = DependencyFailed(info.message)
    error.job_id, error.task = info.about, info.task
    return error
