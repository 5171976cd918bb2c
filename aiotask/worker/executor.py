"""One run from delivery to verdict: resolve, call, judge."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from ..backoff import exponential
from ..broker import Delivery, Meta, Obituary
from ..context import entered
from ..errors import (
    Interrupted,
    JobCancelled,
    JobError,
    JobExpired,
    JobOutOfMemory,
    JobTimeout,
    Retry,
    SealError,
    SerializationError,
    UnknownTask,
    WorkerLost,
)
from ..job import RELEASE, Status, decode_job
from ..options import seconds
from ..tasks import Registry
from ..wire.error_form import is_a, members_of, text_of
from ..wire.error_info import error_info, is_of_another_job
from ..wire.seal import Sealer
from ..wire.serializer import OtherPython, Serializer
from ..wire.unserializable import blame_value
from . import budget as usage
from .run import Marks, Run

__all__ = [
    "MAX_DEATHS",
    "SUCCEEDED",
    "Interrupted",
    "Verdict",
    "What",
    "call_async",
    "call_sync",
    "error_info",
    "judge",
    "resolve",
    "text_of",
]

logger = logging.getLogger("aiotask.worker")

#: Processes that may die with a job before it is given up.
MAX_DEATHS = 3
#: Characters of a traceback that travel.
TRACE_LIMIT = 100_000


class What(StrEnum):
    """What becomes of a job after a run."""

    SUCCESS = "success"
    FAILED = "failed"
    RETRY = "retry"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PARK = "park"
    RELEASE = "release"

    # That of an enum is a call in Python, at every look into a table.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the job, with the delay of a retry, the need of a parked one, the error of a failed one."""

    what: What
    error: BaseException | None = None
    delay: float = 0.0
    need: str = ""
    timed_out: bool = False

    @property
    def status(self) -> Status:
        return _STATUSES[self.what]


_STATUSES = dict.fromkeys(What, Status.FAILED) | {
    What.SUCCESS: Status.SUCCESS,
    What.CANCELLED: Status.CANCELLED,
    What.EXPIRED: Status.EXPIRED,
}
SUCCEEDED = Verdict(What.SUCCESS)


# ---- resolve


def resolve(delivery: Delivery, registry: Registry, sealer: Sealer, worker: str) -> Run:
    """The run of a delivery; nothing of its body is read here.

    Raises:
        SealError: it is no job of this app.
        UnknownTask: this worker does not know the task, or is of an older release than the job needs.
    """
    job = decode_job(sealer.open(delivery.sealed))
    if job.id != delivery.id:
        raise SealError(f'The job "{job.id}" arrived under the ID "{delivery.id}".')
    task = registry.get(job.task)
    if task is None or job.version > RELEASE:
        raise UnknownTask(job.task)
    limit = task.timeout if job.timeout is None else job.timeout
    return Run(delivery, job, task, worker, None, limit or None)


# ---- call


def _begin(run: Run, marks: Marks) -> bool:
    """False: it may not start, since the keeper has taken it back, or since it has expired."""
    more = run.job.more
    if more is not None and 0 < more.expires <= time.time():
        run.error = _expired(run, more.expires)
        return False
    now = time.monotonic()
    deadline, again = 0.0, -1.0
    if run.timeout is not None:
        deadline = now + run.timeout
        again = _again(run, JobTimeout())
    if not marks.start(run.slot, run.job.id, deadline, again, now, run.task.name):
        return False
    run.started_at = time.time()
    run.started_mono = now
    if run.task.is_limited:
        usage.limit(run, marks, (_again(run, JobTimeout()), _again(run, JobOutOfMemory())))
    return True


def _expired(run: Run, moment: float) -> JobExpired:
    until = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return JobExpired(f'Job "{run.job.id}" ({run.task.name}) expired: no run of it was to start after {until}.')


def _again(run: Run, error: JobError) -> float:
    """Seconds until the next run if this one ends so; -1: then it fails."""
    verdict = judge(run, error)
    return verdict.delay if verdict.what is What.RETRY else -1.0


def _end(run: Run, marks: Marks) -> None:
    run.took = time.monotonic() - run.started_mono
    run.finished_at = run.started_at + run.took
    marks.clear(run.slot)


def _failed(run: Run, error: BaseException) -> None:
    run.error = error
    run.value = None
    try:
        # Frames of aiotask itself come first and say nothing; the last ones are the task's.
        trace = error.__traceback__
        while trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("aiotask."):
            trace = trace.tb_next
        lines = traceback.format_exception(type(error), error, trace or error.__traceback__, limit=-50)
        run.traceback = "".join(lines).encode("utf-8", "backslashreplace").decode()[:TRACE_LIMIT]
    except Exception as broken:
        run.traceback = f"(it cannot be shown: {type(broken).__name__})"


def _load(run: Run, serializer: Serializer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        args, kwargs = run.arguments = serializer.load_call(run.job.body, run.task.function)
        if type(args) is tuple and type(kwargs) is dict:
            return args, kwargs
    except SerializationError:
        raise
    except Exception as error:
        raise SerializationError(
            f'The arguments of job "{run.job.id}" ({run.task.name}) cannot be read here: {type(error).__name__}: '
            f"{text_of(error).rstrip('.')}. Check that this worker runs the same code as the sender, with the same "
            "packages."
        ) from error
    run.arguments = None
    raise SerializationError(f'The body of job "{run.job.id}" ({run.task.name}) holds no arguments.')


def _dump(run: Run, value: object, serializer: Serializer) -> None:
    try:
        run.value = serializer.dump_value(value, run.task.function)
    except Exception as error:
        if inspect.isawaitable(value) and not hasattr(type(value), "INSTEAD"):
            raise _not_awaited(run, value) from None
        raise blame_value(serializer, run.task.name, value, error) from error


def _not_awaited(run: Run, value: Any) -> SerializationError:
    """The error for a task that returned something to await; a coroutine is closed."""
    name, function = run.task.name, run.task.function
    if not inspect.iscoroutine(value):
        hint = "await it in the task, and return its value."
        return SerializationError(f'Task "{name}" returned an awaitable ({type(value).__qualname__}): {hint}')
    value.close()
    if run.task.is_async or not inspect.iscoroutinefunction(inspect.unwrap(function)):
        hint = "await it, or make the task `async def`."
    else:
        wrapper = getattr(getattr(function, "__code__", None), "co_qualname", type(function).__qualname__)
        hint = (
            f"its function is `async def`, but the wrapper that a decorator made of it ({wrapper}) is not. "
            "Make that wrapper `async def`, too, and await the function in it."
        )
    return SerializationError(f'Task "{name}" returned a coroutine: {hint}')


def call_sync(run: Run, serializer: Serializer, marks: Marks, guard: Guard) -> None:
    """Run a sync task in this thread, from reading its body to writing its value."""
    if not _begin(run, marks):
        return
    try:
        # In a context of its own, as an async job has it: what a task sets in a context variable ends with the job.
        copy_context().run(_perform_sync, run, serializer, guard)
    except Interrupted as error:
        reason = JobCancelled(f'Job "{run.job.id}" was cancelled while it ran.') if run.cancelled else _too_long(run)
        reason.__cause__ = None
        _failed(run, reason.with_traceback(error.__traceback__))
    except BaseException as error:
        _failed(run, error)
    finally:
        _end(run, marks)
    late = run.timeout is not None and run.took > run.timeout
    if run.error is None and (late or (run.limits is not None and usage.over_cpu(run))):
        # Nothing could interrupt it here (a thread beside the main one), but the limit holds.
        _failed(run, _too_long(run))


def _perform_sync(run: Run, serializer: Serializer, guard: Guard) -> None:
    entered.set(run.context)
    with guard.watch(run):
        args, kwargs = _load(run, serializer)
        value = run.task.function(*args, **kwargs)
    _dump(run, value, serializer)


async def call_async(run: Run, serializer: Serializer, marks: Marks, started: Callable[[Run], None]) -> None:
    """Run an async task in the current asyncio task and a context of its own; ``started`` is called when its arguments
    are known."""
    if not _begin(run, marks):
        return
    entered.set(run.context)
    limit: asyncio.Timeout | None = None
    try:
        args, kwargs = _load(run, serializer)
        started(run)
        if run.timeout is None:
            value = await run.task.function(*args, **kwargs)
        else:
            async with asyncio.timeout(run.timeout) as limit:
                value = await run.task.function(*args, **kwargs)
        _dump(run, value, serializer)
    except TimeoutError as error:
        _failed(run, _too_long(run).with_traceback(error.__traceback__) if limit and limit.expired() else error)
    except asyncio.CancelledError as error:
        _failed(run, _too_long(run).with_traceback(error.__traceback__) if run.exceeded else error)
    except BaseException as error:
        _failed(run, error)
    finally:
        _end(run, marks)
    if run.error is None and ((run.timeout is not None and run.took > run.timeout) or run.exceeded):
        # It blocked the loop past its limit, so nothing could cancel it.
        _failed(run, _too_long(run))


def _too_long(run: Run) -> JobTimeout:
    what = run.exceeded or f"ran longer than its limit of {run.timeout:g} s"
    return JobTimeout(f'Job "{run.job.id}" ({run.task.name}) {what}.')


class Guard:
    """Watches over a sync run; this one can do nothing. ``daemon`` has one that interrupts the main thread."""

    def watch(self, run: Run) -> Guard:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


# ---- judge


def judge(run: Run, error: BaseException | None) -> Verdict:
    """What becomes of the job; a pure function of the run and what it raised."""
    if error is None:
        return SUCCEEDED
    if run.cancelled:
        return Verdict(What.CANCELLED, JobCancelled(f'Job "{run.job.id}" ({run.task.name}) was cancelled.'))
    if is_a(error, JobExpired) and not run.started_at:
        return Verdict(What.EXPIRED, error)
    if run.stopped and _comes_of_a_cancel(error):
        return Verdict(What.RELEASE)
    if is_a(error, OtherPython):
        return Verdict(What.PARK, error, need=error.need)
    timed_out = is_a(error, JobTimeout) and not is_of_another_job(error, run.job.id)
    failures = run.delivery.meta.attempt
    if is_a(error, Retry):
        if failures > run.retries:
            cause: BaseException | None = error.__cause__
            if cause is None:
                cause = JobError(
                    f'Job "{run.job.id}" ({run.task.name}) asked to be run again'
                    f"{f' ({text_of(error)})' if text_of(error) else ''}, and no retry was left after {failures} runs."
                )
            return Verdict(What.FAILED, cause)
        delay = getattr(error, "delay", None)  # a subclass may not have called __init__
        return Verdict(What.RETRY, error, _pause(run) if delay is None else delay)
    if is_a(error, asyncio.CancelledError):
        error = JobCancelled(f'Job "{run.job.id}" ({run.task.name}) cancelled itself: it raised CancelledError.')
    if failures <= run.retries and is_a(error, run.task.retry_on) and not is_a(error, SerializationError):
        return Verdict(What.RETRY, error, _pause(run), timed_out=timed_out)
    return Verdict(What.FAILED, error, timed_out=timed_out)


def _comes_of_a_cancel(error: BaseException) -> bool:
    """Whether this is what a cancel raised, or was raised while that was handled; ``Retry`` is a word of the task's."""
    if is_a(error, Retry):
        return False
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if is_a(error, (asyncio.CancelledError, Interrupted)):
            return True
        if is_a(error, BaseExceptionGroup) and any(map(_comes_of_a_cancel, members_of(error))):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return False


def _pause(run: Run) -> float:
    """Seconds until the next run, by the task's backoff; by the usual one if that is at fault."""
    failures = run.delivery.meta.attempt
    try:
        return seconds(run.task.backoff(failures), "backoff")
    except Exception as error:
        logger.error('The backoff of task "%s" failed, so the default applies: %s', run.task.name, text_of(error))
        return exponential()(failures)


def convict(run: Run) -> Verdict:
    """The end of a job that took too many processes with it."""
    meta, known = run.delivery.meta, run.delivery.meta.obituary or Obituary()
    parts = [
        f'Job "{run.job.id}" ({run.task.name}) was given up: {meta.deaths} processes died while they ran it, '
        f"the last one by {meta.reason or 'an unknown cause'}."
    ]
    if known.peak_memory:
        parts.append(f"It held {known.peak_memory / 1e6:,.0f} MB of memory at most.")
    parts.append(f"The job is kept as a dead letter: aiotask dead show {run.job.id}")
    text = " ".join(parts)
    for title, lines in (
        ("Its last stack, innermost frame first", known.stack),
        ("Its last lines of stderr", known.stderr),
    ):
        if lines:
            text += f"\n{title}:\n" + "\n".join(f"  {line.strip()}" for line in lines.splitlines())
    ended = None if meta.obituary is None else known.exit_code if not known.signal else None
    return Verdict(
        What.FAILED,
        WorkerLost(text, known.signal or None, ended, known.peak_memory or None, known.stack, known.stderr),
    )


def next_meta(run: Run) -> Meta:
    """The counters of the next run."""
    meta = run.delivery.meta
    return msgspec.structs.replace(meta, attempt=meta.attempt + 1)
