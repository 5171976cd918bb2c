"""Every error aiotask raises, in one tree.

::

    AiotaskError
    ├── ConfigError           a setting, an option or a URL is wrong; nothing was started
    ├── ImportFailed          the module with the app could not be imported
    ├── UnknownTask           no worker that runs knows the task (the job is parked, not lost)
    ├── SerializationError    a value cannot travel, or what travelled cannot be read here
    ├── SealError             a message was forged, damaged, or sealed with another secret
    ├── BrokerError           the broker refused or did not answer
    │   ├── ConnectionLost    no connection, or it broke
    │   └── QueueFull         the broker has no room for more jobs
    ├── ResultTimeout         (also TimeoutError) the wait ended, the job goes on
    ├── ResultExpired         neither the job nor its outcome is known any more
    └── JobError              the job ended without a value
        ├── JobTimeout        it ran longer, or used more CPU, than its limit
        ├── JobOutOfMemory    it took more memory than its limit
        ├── JobCancelled      somebody cancelled it
        ├── JobLost           the broker accepted it and no longer has it
        ├── DependencyFailed  a job whose value it needed failed
        ├── WorkerLost        the processes that ran it died, again and again
        └── RemoteError       it raised something that does not travel as itself

Two stand outside: ``Retry`` is what a task raises to be run again, and ``Interrupted`` is what a sync task sees at its
time limit, or when it is cancelled.
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
    "JobLost",
    "JobOutOfMemory",
    "JobTimeout",
    "QueueFull",
    "RemoteError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "SealError",
    "SerializationError",
    "UnknownTask",
    "WorkerLost",
]


class AiotaskError(Exception):
    """The root of the tree; ``except AiotaskError`` catches whatever aiotask itself reports.

    ``job_id`` is the id of the job that the error is about; empty where it is about none.
    """

    job_id: str = ""


E = TypeVar("E", bound=AiotaskError)


def about(error: E, job_id: str) -> E:
    """The error with the id of the job that it is about."""
    error.job_id = job_id
    return error


class ConfigError(AiotaskError):
    """A setting, an option, a URL or a name is wrong."""


class ImportFailed(AiotaskError):
    """The module that holds the app could not be imported, or holds no app."""


class UnknownTask(AiotaskError):
    """No worker that runs knows the task. The job waits, parked, for one that does."""


class SerializationError(AiotaskError):
    """A value cannot be serialized, or a body cannot be read by this process."""


class SealError(AiotaskError):
    """A message does not carry a valid seal of this app."""


class BrokerError(AiotaskError):
    """The broker refused a request or did not answer it."""


class ConnectionLost(BrokerError):
    """The broker cannot be reached, or the connection broke during a request."""


class QueueFull(BrokerError):
    """The broker has no room for more jobs."""


class ResultTimeout(AiotaskError, TimeoutError):
    """The time given for waiting is over; the job itself goes on."""


class ResultExpired(AiotaskError):
    """Neither the job nor its outcome is known: never sent, or older than its result TTL."""


class JobError(AiotaskError):
    """The job ended without a value."""


class JobTimeout(JobError):
    """The job ran longer, or used more CPU, than its limit."""


class JobOutOfMemory(JobError):
    """The job took more memory than its limit, and its process was killed."""


class JobCancelled(JobError):
    """The job was cancelled. (CancelledError would end the caller's own task, so it never travels.)"""


class JobLost(JobError):
    """The broker accepted the job and has neither it nor an outcome any more."""


class DependencyFailed(JobError):
    """A job whose value this one needed has failed."""


class WorkerLost(JobError):
    """The worker processes that ran the job died every time.

    The attributes tell of the last one, as far as it is known: ``signal`` or ``exit_code``, ``peak_memory``
    (bytes), ``stack`` (of the thread that died) and ``stderr`` (its last lines).
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
        # All of it in ``args``, so that it travels with any serializer.
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
    """The task raised something that cannot be sent as itself, or let out an error about its wait for another job.

    ``type`` is the qualified name of the original class. An error about a wait is the ``__cause__``, and ``job_id`` is
    the id of the job that the task waited for.
    """

    def __init__(self, message: str = "", *, type: str = "") -> None:
        super().__init__(message)
        self.type = type

    def __reduce__(self) -> tuple[object, ...]:
        return (_remote_error, (str(self), self.type), dict(vars(self)))


def _remote_error(message: str, type: str) -> RemoteError:
    return RemoteError(message, type=type)


class Retry(Exception):
    """Raise it inside a task to be run again; it spends one of the job's retries.

    Args:
        delay: seconds until the next run, or a timedelta; None takes the task's backoff.
        reason: said in the log and in the error if no retry is left.
    """

    def __init__(self, reason: str = "", *, delay: float | timedelta | None = None) -> None:
        super().__init__(reason)
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        if delay is not None and (not isinstance(delay, int | float) or not 0 <= delay < 1e10):
            raise ConfigError(f"Retry(delay={delay!r}): give seconds (0 or more) or a timedelta.")
        self.delay = delay


class Interrupted(BaseException):
    """Raised into a sync task at its time limit, or when it is cancelled; ``finally`` and ``with`` blocks run.

    It is no Exception, so ``except Exception`` of the task does not catch it. What a task returns after catching it is
    dropped: the job fails with JobTimeout or ends as CANCELLED. An async task sees ``asyncio.CancelledError`` instead.
    """
