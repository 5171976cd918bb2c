"""The errors that aiotask raises, in one tree.

::

    AiotaskError
    ├── ConfigError           a setting, an option, a URL or a name is wrong
    ├── ImportFailed          the module with the app could not be imported
    ├── UnknownTask           no running worker knows the task (the job is parked, not lost)
    ├── SerializationError    a value cannot be serialized or deserialized
    ├── Unresolved            (also a TypeError) a value that is not there yet was used
    ├── SealError             a message was forged, damaged, or sealed with another secret
    ├── BrokerError           the broker refused a request or did not answer
    │   ├── ConnectionLost    the broker cannot be reached
    │   └── QueueFull         the broker has no room for more jobs
    ├── JobExists             another job has the key, and the call says on_conflict="error"
    ├── NotSent               the job waits for the commit of a transaction, or was rolled back with it
    ├── ResultTimeout         (also a TimeoutError) the caller's time limit is over; the job goes on
    ├── ResultExpired         the broker knows neither the job nor its outcome
    └── JobError              the job ended without a value
        ├── JobTimeout        the job ran longer, or used more CPU, than its limit
        ├── JobOutOfMemory    the job took more memory than its limit
        ├── JobCancelled      the job was cancelled
        ├── JobExpired        the job did not start, or was not retried, before the moment that expires= named
        ├── JobLost           the broker accepted the job and no longer has it
        ├── DependencyFailed  a job whose value it needed failed
        ├── WorkerLost        the processes that ran the job died
        └── RemoteError       the task raised an exception that cannot be sent as itself

Two classes are outside of this tree: a task raises ``Retry`` to be run again, and ``Interrupted`` is raised into a sync
task at its time limit, or when it is cancelled.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

__all__ = [
    "AiotaskError",
    "BrokerError",
    "ConfigError",
    "ConnectionLost",
    "DependencyFailed",
    "ImportFailed",
    "Interrupted",
    "JobCancelled",
    "JobError",
    "JobExists",
    "JobExpired",
    "JobLost",
    "JobOutOfMemory",
    "JobTimeout",
    "NotSent",
    "QueueFull",
    "RemoteError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "SealError",
    "SerializationError",
    "UnknownTask",
    "Unresolved",
    "WorkerLost",
]


class AiotaskError(Exception):
    """The base class of every error that aiotask itself reports.

    ``job_id`` is the id of the job that the error is about, or empty.
    """

    job_id: str = ""


E = TypeVar("E", bound=AiotaskError)


def about(error: E, job_id: str) -> E:
    """The error with the id of the job that it is about."""
    error.job_id = job_id
    return error


class ConfigError(AiotaskError):
    """A setting, an option, a URL or a name is wrong, or a call is not possible where it was made."""


class ImportFailed(AiotaskError):
    """The module with the app could not be imported, or defines no app or task."""


class UnknownTask(AiotaskError):
    """No running worker knows the task, or is of a release that can run the job. The job is parked until one starts."""


class SerializationError(AiotaskError):
    """An argument, a return value or an exception cannot be serialized, or cannot be deserialized in this process."""


class Unresolved(AiotaskError, TypeError):
    """The value of a call that has not ended was used. A ``.cast`` may only be passed on, as an argument of a call."""


class SealError(AiotaskError):
    """A job, an outcome or a message has no valid seal: it was forged, damaged, or sealed with another secret."""


class BrokerError(AiotaskError):
    """The broker refused a request, or did not answer it."""


class ConnectionLost(BrokerError):
    """The broker cannot be reached, or the connection broke during a request."""


class QueueFull(BrokerError):
    """The job was not sent: its queue is full (``max_pending``), or the server is out of memory."""


class JobExists(AiotaskError):
    """The job was not sent: another job has its key, and the call says ``on_conflict="error"``.

    ``job_id`` is the id of that job: ``app.result(error.job_id)`` is a handle on it.
    """


class NotSent(AiotaskError):
    """The job was sent in a transaction (``app.in_transaction``) that has not committed, or was rolled back."""


class ResultTimeout(AiotaskError, TimeoutError):
    """The time limit of a wait is over. The job goes on, and can be awaited again."""


class ResultExpired(AiotaskError):
    """The broker knows neither the job nor its outcome: it was never sent, or is older than its result TTL."""


class JobError(AiotaskError):
    """The job ended without a value; the base class of the errors below."""


class JobTimeout(JobError):
    """The job ran longer than its ``timeout``, or used more CPU time than its ``cpu`` limit."""


class JobOutOfMemory(JobError):
    """The job took more memory than its ``memory`` limit, and its process was killed."""


class JobCancelled(JobError):
    """The job was cancelled. (The caller never gets a CancelledError, which would cancel the caller's own task.)"""


class JobExpired(JobError):
    """The job did not start, or was not retried, before the moment that ``expires`` named."""


class JobLost(JobError):
    """The broker accepted the job, but no longer has it or its outcome, for example because the server was emptied."""


class DependencyFailed(JobError):
    """A job whose value this one needed ended without a value, so this one was not run.

    ``job_id`` and ``task`` name the first job that failed, also where others stand between it and this one. Its own
    error is the ``__cause__``, if it can be sent.
    """

    task: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        return (DependencyFailed, self.args, dict(vars(self)))


class WorkerLost(JobError):
    """The worker processes that ran the job died: three of them, or one with ``acks="early"``.

    The attributes describe the last process, as far as is known: ``signal`` (its number) or ``exit_code``,
    ``peak_memory`` (bytes), ``stack`` (of the thread that died) and ``stderr`` (its last lines).
    """

    def __init__(
        self,
        message: str = "",
        signal: int | None = None,
        exit_code: int | None = None,
        peak_memory: int | None = None,
        stack: str = "",
        stderr: str = "",
    ) -> None:
        # Everything is in ``args``, so that any serializer can write it.
        known = (signal, exit_code, peak_memory, stack, stderr)
        super().__init__(message, *(known if any(fact not in (None, "") for fact in known) else ()))
        self.signal = signal
        self.exit_code = exit_code
        self.peak_memory = peak_memory
        self.stack = stack
        self.stderr = stderr

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteError(JobError):
    """The task raised an exception that cannot be sent as itself, or one about its wait for another job.

    ``type`` is the qualified name of the original class. For an error about a wait, that error is the ``__cause__``,
    and ``job_id`` is the id of the job that the task waited for.
    """

    def __init__(self, message: str = "", *, type: str = "") -> None:
        super().__init__(message)
        self.type = type

    def __reduce__(self) -> tuple[object, ...]:
        return (_remote_error, (str(self), self.type), dict(vars(self)))


def _remote_error(message: str, type: str) -> RemoteError:
    return RemoteError(message, type=type)


class Retry(Exception):
    """Raised by a task to be run again; this uses one of the retries of the job.

    Args:
        reason: text for the log, and for the error if no retry is left.
        delay: time until the next run, in seconds or as a timedelta; None: the backoff of the task.
        limit: True: until then no job of the same limit and key starts, as after "429 Too Many Requests".

    Raises:
        ConfigError: ``delay`` is negative, or not a duration.
    """

    def __init__(self, reason: str = "", *, delay: float | timedelta | None = None, limit: bool = False) -> None:
        super().__init__(reason)
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        if delay is not None and (not isinstance(delay, int | float) or not 0 <= delay < 1e10):
            raise ConfigError(f"Retry(delay={delay!r}): give seconds (0 or more) or a timedelta.")
        self.delay = delay
        self.limit = limit


class Interrupted(BaseException):
    """Raised into a sync task at its time limit, or when it is cancelled; ``finally`` and ``with`` blocks run.

    It is a BaseException, so ``except Exception`` in the task does not catch it. If the task catches it and returns,
    the value is discarded: the job fails with JobTimeout, or ends as CANCELLED. An async task gets
    ``asyncio.CancelledError`` instead.
    """
