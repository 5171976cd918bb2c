"""Exceptions to their form in an outcome (class, text, remote traceback, causes) and back."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import (
    AiotaskError,
    DependencyFailed,
    JobCancelled,
    JobError,
    JobExpired,
    JobLost,
    JobOutOfMemory,
    JobTimeout,
    RemoteError,
    ResultExpired,
    ResultTimeout,
    SerializationError,
    UnknownTask,
    WorkerLost,
)
from ..job import Status
from ..outcome import ErrorInfo, Outcome
from .error_form import add_note, is_a, link, links_of, members_of, reason_of, text_of
from .serializer import Serializer

__all__ = ["error_info", "error_of", "is_of_another_job"]

#: Depth to which causes of causes are sent, and bytes of each at most: they must not make an outcome too large.
_DEPTH = 10
_LINK_BYTES = 64 * 1024
#: Exceptions whose causes are looked for, and bytes of all causes in one outcome: causes that are shared, or that are
#: groups with the exception among their members, would be written again and again.
_MANY = 1_000
_ALL_BYTES = 1024 * 1024

#: Classes of errors that are made without a serializer, by the name under which they travel.
_OURS: dict[str, type[Exception]] = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (
        DependencyFailed,
        JobCancelled,
        JobError,
        JobExpired,
        JobLost,
        JobOutOfMemory,
        JobTimeout,
        SerializationError,
        WorkerLost,
    )
}
#: The error of an outcome that carries none, by its status.
_WITHOUT_ERROR = {Status.CANCELLED: JobCancelled, Status.EXPIRED: JobExpired}
#: Errors about the end of a job: the awaited one, or one that its task awaited.
_ENDS = (DependencyFailed, JobCancelled, JobExpired, JobLost, JobOutOfMemory, JobTimeout, WorkerLost)
#: Errors about a wait, never about the end of a job.
_WAITS = (ResultExpired, ResultTimeout, UnknownTask)


# ---- in the worker


def error_info(error: BaseException, trace: str, serializer: Serializer, job: str = "") -> ErrorInfo:
    """The form in which an error is sent.

    Only Exceptions are sent as themselves, and those that would end a generator are not. An error about a wait that
    the task has let out is sent as RemoteError: the caller would take it for the end of its own wait. What became of
    another job (WorkerLost, JobTimeout, …) is sent as itself; its ``job_id`` says whose end it was.

    Args:
        trace: the remote traceback.
        job: the id of the job that ends with the error.
    """
    if any(type(error) is each for each in _WAITS):
        other = error
        error = RemoteError(f"The task raised {type(other).__name__}: {text_of(other)}", type=_name_of(other))
        error.job_id = _job_of(other)
        link(error, other, None, True)
    if not is_a(error, Exception):
        why = "it is not an Exception, and would end more than the call that awaits the job"
        return _Links(serializer).add(_untravelled(error, trace, why), error, _DEPTH)
    if is_a(error, (StopIteration, StopAsyncIteration)):
        why = "it would end the generator or the loop that awaits the job"
        return _Links(serializer).add(_untravelled(error, trace, why), error, _DEPTH)
    body, why = _dumped(error, serializer)
    task = error.task if type(error) is DependencyFailed else ""
    info = ErrorInfo(_name_of(error), text_of(error), trace, body, why, about=_job_of(error), task=task)
    return _Links(serializer).add(info, error, _DEPTH)


def is_of_another_job(error: BaseException | None, job: str) -> bool:
    """Whether an error of aiotask is about the end of another job than this one, or about the wait for it."""
    # Compared by identity: the metaclass of an exception may define ==.
    kind = type(error)
    if any(kind is each for each in _WAITS):
        return True
    return any(kind is each for each in _ENDS) and getattr(error, "job_id", "") not in ("", job)


def _job_of(error: BaseException) -> str:
    return error.job_id if is_a(error, AiotaskError) else ""


def _untravelled(error: BaseException, trace: str, why: str) -> ErrorInfo:
    return ErrorInfo(_name_of(error), text_of(error), trace, None, f"(It came as RemoteError because {why}.)")


def _dumped(error: BaseException, serializer: Serializer) -> tuple[bytes | None, str]:
    """The bytes of an exception, or the reason why it cannot be sent as itself."""
    try:
        body = serializer.dump_error(error)
    except SerializationError as fault:
        return None, reason_of(str(fault))
    except Exception as fault:  # for example of a metaclass that refuses
        return None, reason_of(f"it cannot be serialized: {type(fault).__name__}: {text_of(fault).rstrip('.')}")
    if body is None:
        return None, f'(It came as RemoteError because serializer="{serializer.name}" cannot send its class.)'
    return body, ""


def _name_of(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}".encode("utf-8", "backslashreplace").decode()


class _Links:
    """Adds the causes of an exception, and of its members, to an ErrorInfo, and counts their bytes."""

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer
        self._left, self._bytes_left = _MANY, _ALL_BYTES
        #: Ids of the exceptions under way, each a cause or a member of the one before it.
        self._above: list[int] = []

    def add(self, info: ErrorInfo, error: BaseException, depth: int) -> ErrorInfo:
        """The ErrorInfo with the causes of the error and of its members added, to a depth of at most ``depth``."""
        cause, context, suppressed = links_of(error)
        if suppressed or context is cause:
            context = None
        members = members_of(error) if is_a(error, BaseExceptionGroup) else ()
        self._left -= 1
        if not depth or self._left < 0 or (cause is None and context is None and not suppressed and not members):
            return info
        self._above.append(id(error))
        try:
            below = tuple(self.add(ErrorInfo("", ""), member, depth - 1) for member in members)
            return msgspec.structs.replace(
                info,
                cause=self._link(cause, depth - 1),
                context=self._link(context, depth - 1),
                suppressed=suppressed,
                members=below if any(map(_has_links, below)) else (),
            )
        finally:
            self._above.pop()

    def _link(self, error: BaseException | None, depth: int) -> ErrorInfo | None:
        """The ErrorInfo of a cause; None if the error is itself a cause or a member of it, or if there are too many."""
        if error is None or id(error) in self._above or self._left <= 0:
            return None
        body, why = _dumped(error, self._serializer)
        if body is not None and len(body) > min(_LINK_BYTES, self._bytes_left):
            all_of_them = "" if len(body) > _LINK_BYTES else ", and all causes together too many"
            why, body = f"(It came as RemoteError because it has {len(body):,} bytes{all_of_them}.)", None
        message = text_of(error) if self._bytes_left > 0 else ""
        self._bytes_left -= len(body or b"") + len(message)
        info = ErrorInfo(_name_of(error), message, "", body, why, about=_job_of(error))
        return self.add(info, error, depth)


def _has_links(info: ErrorInfo) -> bool:
    return bool(info.cause or info.context or info.suppressed or info.members)


# ---- at the caller


def error_of(outcome: Outcome, serializer: Serializer, function: Any = None) -> Exception:
    """A fresh copy of the exception in an outcome that carries no value; no code of its class runs unguarded.

    Args:
        function: the task's function, if known; it decides which copy of a script's classes the error gets.
    """
    info = outcome.error
    if info is None:
        kind = _WITHOUT_ERROR.get(outcome.status, JobError)
        error: Any = kind(f'Job "{outcome.id}" ({outcome.task}) ended as {outcome.status}.')
    else:
        error = _made(info, serializer, function)
        if not is_a(error, Exception):
            error = _remote(info, "")
        if info.traceback:
            where = f"(job {outcome.id}, {outcome.task}, on {outcome.worker})"
            add_note(error, f"\nRemote traceback {where}:\n{info.traceback}")
    if is_a(error, AiotaskError) and not error.job_id:
        vars(error)["job_id"] = outcome.id
    made: Exception = error
    return made


def _made(info: ErrorInfo, serializer: Serializer, function: Any) -> BaseException:
    error: Any = None
    why = info.why
    if info.body is not None:
        try:
            error = serializer.load_error(info.body, function)
            if not issubclass(type(error), BaseException):
                error = None
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # an error of reading, SystemExit included, is not the outcome of the job
            why = f"(It came as RemoteError because it cannot be read here: {type(fault).__name__}: {text_of(fault)})"
    if error is None and info.type in _OURS:
        # An error of aiotask that no serializer wrote (of a keeper or a cancel), or that another serializer wrote.
        error = _OURS[info.type](info.message)
    if error is None:
        error = _remote(info, why)
    if type(error) is RemoteError and not error.type:
        # JSON carries only the text of such an error.
        error.type = (info.cause or info).type
    if info.about and is_a(error, AiotaskError):
        vars(error)["job_id"] = info.about
    if info.task and is_a(error, DependencyFailed):
        vars(error)["task"] = info.task
    _link(error, info, serializer, function)
    return error  # type: ignore[no-any-return]


def _remote(info: ErrorInfo, why: str) -> RemoteError:
    text = f"{info.type}: {info.message}"
    return RemoteError(f"{text}\n{why}" if why else text, type=info.type)


def _link(error: BaseException, info: ErrorInfo, serializer: Serializer, function: Any) -> None:
    """Set the causes that an exception, and the members of a group, had."""
    cause, context = (
        None if linked is None else _made(linked, serializer, function) for linked in (info.cause, info.context)
    )
    if cause is not None and info.cause is not None and info.cause.traceback:
        # Of the job that failed first: its cause goes with the error of every job behind it.
        add_note(cause, f"\nRemote traceback (job {info.about}, {info.task}):\n{info.cause.traceback}")
    if cause is not None or context is not None or info.suppressed:
        link(error, cause, context, info.suppressed)
    if info.members and is_a(error, BaseExceptionGroup):
        for member, below in zip(members_of(error), info.members, strict=False):
            _link(member, below, serializer, function)
