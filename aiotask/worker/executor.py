"""From a delivery to the end of its run: resolve the task, call it, keep what it returned or raised."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from ..broker import Delivery
from ..context import entered
from ..errors import (
    Interrupted,
    JobCancelled,
    JobError,
    JobOutOfMemory,
    JobTimeout,
    SealError,
    SerializationError,
    UnknownTask,
    Unresolved,
)
from ..job import RELEASE, decode_job
from ..log.shown_error import shown_error, without_ours
from ..signature import Signature
from ..tasks.task import Registry
from ..values.flow import Kind
from ..wire.error_form import text_of
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from ..wire.unserializable import blame_value
from . import budget
from .expiry import expired, is_expired
from .node import called_async, called_sync, function_of, refs_in, written_by
from .provide import perform_async, perform_sync
from .run import Board, Run
from .verdict import What, judge

__all__ = [
    "Guard",
    "call_async",
    "call_sync",
    "fail",
    "load_arguments",
    "resolve",
    "seconds_to_next_run",
    "text_of",
]

#: Characters of a traceback that an outcome has at most.
TRACE_LIMIT = 100_000
#: Nodes whose body is a value that an earlier run has returned.
_RETURNED = frozenset({Kind.RETURNED, Kind.RETURNED_CHUNK})


# ---- resolve


def resolve(delivery: Delivery, registry: Registry, sealer: Sealer, worker: str) -> Run:
    """The run of a delivery, made without reading the body of the job.

    Raises:
        SealError: the delivery is no job of this app.
        UnknownTask: this worker does not know the task, or is of an older release than the job needs.
    """
    job = decode_job(sealer.open(delivery.sealed))
    if job.id != delivery.id:
        raise SealError(f'The job "{job.id}" arrived under the ID "{delivery.id}".')
    task = registry.get(job.task)
    if task is None or job.version > RELEASE:
        raise UnknownTask(job.task)
    limit = task.timeout if job.timeout is None else job.timeout
    run = Run(delivery, job, task, worker, None, limit or None)
    if job.more is not None and job.more.flow is not None:
        run.flow = job.more.flow
        run.calls_nothing = run.flow.kind in _RETURNED
        run.is_special = True
    elif task.around is not None or task.stream is not None:
        run.is_special = True
    return run


# ---- call


def _begin(run: Run, board: Board) -> bool:
    """Start the clocks of a run. False: the run must not start: the job has expired, or the keeper takes it back."""
    more = run.job.more
    if more is not None and more.expires and is_expired(run):
        run.error = expired(run)
        return False
    now = time.monotonic()
    deadline, again = 0.0, -1.0
    if run.timeout is not None:
        deadline = now + run.timeout
        again = seconds_to_next_run(run, JobTimeout())
    if not board.start(run.slot, run.job.id, deadline, again, now, run.task.name):
        return False
    run.started_at = time.time()
    run.started_mono = now
    if run.task.is_limited:
        budget.begin(run, board, (seconds_to_next_run(run, JobTimeout()), seconds_to_next_run(run, JobOutOfMemory())))
    return True


def seconds_to_next_run(run: Run, error: JobError) -> float:
    """Seconds until the next run of the job if this run ends with that error; -1: the job fails."""
    verdict = judge(run, error)
    return verdict.delay if verdict.what is What.RETRY else -1.0


def _end(run: Run, board: Board) -> None:
    run.took = time.monotonic() - run.started_mono
    run.finished_at = run.started_at + run.took
    board.clear(run.slot)


def fail(run: Run, error: BaseException) -> None:
    """End a run with this error, and keep its traceback as text."""
    run.error = error
    run.value = run.returned = None
    try:
        text = shown_error(error, without_ours(error.__traceback__))
        run.traceback = text.encode("utf-8", "backslashreplace").decode()[:TRACE_LIMIT]
    except Exception as broken:
        run.traceback = f"(it cannot be shown: {type(broken).__name__})"


def load_arguments(run: Run, serializer: Serializer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the call.

    Raises:
        SerializationError: they cannot be read here.
    """
    try:
        if run.is_special:
            args, kwargs = run.arguments = serializer.load_call(run.job.body, function_of(run), run.upstream)
        else:
            args, kwargs = run.arguments = serializer.load_call(run.job.body, run.task.function)
        if type(args) is tuple and type(kwargs) is dict:
            return args, kwargs
    except SerializationError:
        raise
    except Exception as error:
        raise _unreadable(run, "The arguments of", error) from error
    run.arguments = None
    raise SerializationError(f'The body of job "{run.job.id}" ({run.task.name}) holds no arguments.')


def _completed(run: Run, serializer: Serializer) -> Any:
    """The value of a job whose function has run before, and has returned what other jobs had to complete."""
    # There is no start for the log.
    run.start_logged = True
    try:
        return serializer.load_value(run.job.body, function_of(run), run.upstream)
    except SerializationError:
        raise
    except Exception as error:
        raise _unreadable(run, "The values in what was returned by", error) from error


def _unreadable(run: Run, what: str, error: Exception) -> SerializationError:
    return SerializationError(
        f'{what} job "{run.job.id}" ({run.task.name}) cannot be read here: {type(error).__name__}: '
        f"{text_of(error).rstrip('.')}. Check that this worker runs the same code as the sender, with the same "
        "packages."
    )


def _dump(run: Run, value: object, serializer: Serializer) -> None:
    if isinstance(value, Signature):
        run.returned = refs_in(run, value.cast, serializer)
        return
    try:
        run.value = serializer.dump_value(value, written_by(run) if run.is_special else run.task.function)
    except Unresolved:
        run.returned = refs_in(run, value, serializer)
    except Exception as error:
        if inspect.isawaitable(value) and not hasattr(type(value), "INSTEAD"):
            raise _not_awaited(run, value) from None
        else:
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


def call_sync(run: Run, serializer: Serializer, board: Board, guard: Guard) -> None:
    """Run a sync task in this thread, from reading its body to writing its value."""
    if not _begin(run, board):
        return
    try:
        # In a context of its own, like an async job: the context variables that a task sets end with the job.
        copy_context().run(_perform_sync, run, serializer, guard)
    except Interrupted as error:
        reason = JobCancelled(f'Job "{run.job.id}" was cancelled while it ran.') if run.cancelled else _too_long(run)
        reason.__cause__ = None
        fail(run, reason.with_traceback(error.__traceback__))
    except BaseException as error:
        fail(run, error)
    finally:
        _end(run, board)
    late = run.timeout is not None and run.took > run.timeout
    if run.error is None and (late or (run.budget is not None and budget.over_cpu(run))):
        # A run outside the main thread could not be interrupted, but the limit holds.
        fail(run, _too_long(run))


def _perform_sync(run: Run, serializer: Serializer, guard: Guard) -> None:
    entered.set(run.context)
    with guard.watch(run):
        if run.is_special:
            value = _call_special(run, serializer)
        else:
            args, kwargs = load_arguments(run, serializer)
            value = run.task.function(*args, **kwargs)
    _dump(run, value, serializer)


def _call_special(run: Run, serializer: Serializer) -> Any:
    """The value of a run that is more than a call of the function."""
    if run.performs is not None:
        return run.performs(run, serializer)
    if run.calls_nothing:
        return _completed(run, serializer)
    args, kwargs = load_arguments(run, serializer)
    function, around = called_sync(run), run.task.around
    return function(*args, **kwargs) if around is None else perform_sync(run, around, function, args, kwargs)


async def call_async(run: Run, serializer: Serializer, board: Board, started: Callable[[Run], None]) -> None:
    """Run an async task in the current asyncio task and a context of its own; ``started`` is called when its arguments
    are known."""
    if not _begin(run, board):
        return
    entered.set(run.context)
    limit: asyncio.Timeout | None = None
    try:
        if run.is_special:
            function, args, kwargs = _special_async(run, serializer, started)
        else:
            args, kwargs = load_arguments(run, serializer)
            started(run)
            function = run.task.function
        if run.timeout is None:
            value = await function(*args, **kwargs)
        else:
            async with asyncio.timeout(run.timeout) as limit:
                value = await function(*args, **kwargs)
        _dump(run, value, serializer)
    except TimeoutError as error:
        # The error by which the limit interrupted the task knows where that was.
        place = (error.__cause__ or error).__traceback__
        fail(run, _too_long(run).with_traceback(place) if limit and limit.expired() else error)
    except asyncio.CancelledError as error:
        fail(run, _too_long(run).with_traceback(error.__traceback__) if run.exceeded else error)
    except BaseException as error:
        fail(run, error)
    finally:
        _end(run, board)
    if run.error is None and ((run.timeout is not None and run.took > run.timeout) or run.exceeded):
        # The run blocked the loop past its limit, so it could not be cancelled.
        fail(run, _too_long(run))


def _special_async(
    run: Run, serializer: Serializer, started: Callable[[Run], None]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """What to await for the value of a run that is more than a call of the function: a function and its arguments."""
    if run.performs is not None:
        return run.performs, (run, serializer, started), {}
    if run.calls_nothing:
        return _known, (_completed(run, serializer),), {}
    args, kwargs = load_arguments(run, serializer)
    started(run)
    function, around = called_async(run), run.task.around
    return (function, args, kwargs) if around is None else (perform_async, (run, around, function, args, kwargs), {})


async def _known(value: Any) -> Any:
    return value


def _too_long(run: Run) -> JobTimeout:
    what = run.exceeded or f"ran longer than its limit of {run.timeout:g} s"
    return JobTimeout(f"{run.title} {what}.")


class Guard:
    """Watches the limits of a sync run. This guard cannot interrupt it; ``daemon`` has one that interrupts the main
    thread."""

    def watch(self, run: Run) -> Guard:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
