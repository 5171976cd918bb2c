"""How a recorded job ended, for readers without its app."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..errors import ConfigError, JobCancelled, JobError, RemoteError, SerializationError
from ..job import Status
from ..outcome import Outcome
from ..wire.plaintext import plain_value

__all__ = ["plain_end"]


def plain_end(outcome: Outcome) -> Any:
    """The value of a job, or its error, raised; for callers without an app, so as plain data."""
    if outcome.status is not Status.SUCCESS:
        raise _plain_error(outcome)
    if outcome.value is None:
        raise SerializationError(f'Job "{outcome.id}" succeeded, but its outcome carries no value.')
    try:
        return plain_value(outcome.value)
    except SerializationError as error:
        raise ConfigError(
            f'The result of job "{outcome.id}" of task "{outcome.task}" is more than plain data. '
            f"Open the result database with ResultDB(…, app=app). ({error})"
        ) from error


def _plain_error(outcome: Outcome) -> JobError:
    info = outcome.error
    if info is None:
        kind = JobCancelled if outcome.status is Status.CANCELLED else JobError
        return kind(f'Job "{outcome.id}" of task "{outcome.task}" ended as {outcome.status}.')
    module, _, name = info.type.rpartition(".")
    own = getattr(errors, name, None) if module == errors.__name__ else None
    if isinstance(own, type) and issubclass(own, JobError):
        error: JobError = own(info.message)
    else:
        error = RemoteError(f"{info.type}: {info.message}", type=info.type)
    if info.traceback:
        error.add_note(info.traceback)
    return error
