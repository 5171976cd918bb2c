"""The caller's handle on an outcome that may not exist yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

from ..context import current_job
from ..errors import AiotaskError, ConfigError, ResultTimeout, SerializationError, about
from ..functions.hints import RESULT_ELSEWHERE, explain_absence
from ..job import Status
from ..loops.portal import running_loop
from ..outcome import Outcome
from ..settings import seconds
from ..wire.error_form import text_of
from ..wire.error_info import error_of
from ..wire.serializer import Serializer

if TYPE_CHECKING:
    from ..broker import Cancelled
    from .graph import Graph
    from .progress import Progress

__all__ = ["AsyncResult", "Home", "gather", "reveal", "seconds_of"]

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
#: Bound here, since looking up a member of an enum takes longer than comparing it.
_SUCCESS = Status.SUCCESS


class Home(Protocol):
    """The client of a handle, as far as the handle needs it."""

    serializer: Serializer

    async def outcome(self, result: AsyncResult[Any], timeout: float | None) -> Outcome: ...
    async def outcomes(self, results: list[AsyncResult[Any]], errors: dict[str, Exception] | None = None) -> None: ...
    async def accepted(self, result: AsyncResult[Any]) -> None: ...
    async def status(self, result: AsyncResult[Any]) -> Status: ...
    async def cancel(self, result: AsyncResult[Any]) -> Cancelled: ...
    async def forget_outcome(self, result: AsyncResult[Any]) -> bool: ...
    async def graph(self, result: AsyncResult[Any]) -> Graph: ...
    async def children(self, result: AsyncResult[Any]) -> list[AsyncResult[Any]]: ...
    def progress(self, result: AsyncResult[Any]) -> AsyncIterator[Progress]: ...
    def block(self, work: Coroutine[Any, Any, T]) -> T: ...


class AsyncResult(Generic[R_co]):
    """A handle on one job. Awaiting it returns the value of the task, or raises the exception that the task raised.

    It can be awaited repeatedly, by several tasks and threads. Cancelling an await never cancels the job. The remote
    traceback is attached to the exception as a note.
    """

    #: What to do instead of serializing an AsyncResult, for the error.
    INSTEAD = "{verb} result.id, or await it first"

    __slots__ = (
        "__weakref__",
        "_home",
        "_queue",
        "arrived",
        "epoch",
        "function",
        "id",
        "ignored",
        "send_buffer",
        "shared",
        "task",
        "ticket",
    )

    def __init__(self, id: str, home: Home, task: str = "", function: Any = None, queue: str = "") -> None:
        self.id = id
        self.task = task
        self.function = function
        self._home = home
        #: Queue of the job; empty: not known here.
        self._queue = queue
        #: The outcome, once it has arrived.
        self.arrived: Outcome | None = None
        #: Number of the mailbox's subscription when the job was sent.
        self.epoch = 0
        #: The send buffer of the job and its ticket there; None for a job that was not sent by this handle.
        self.send_buffer: Any = None
        self.ticket = 0
        #: Whether another client may have sent the job under its id, and whether the task ignores the result.
        self.shared = False
        self.ignored = False

    def __await__(self) -> Generator[Any, None, R_co]:
        # The same as wait(), without a coroutine in between.
        outcome = self.arrived
        if outcome is None:
            outcome = yield from self._home.outcome(self, None).__await__()
        value: R_co = reveal(outcome, self._home.serializer, self.function)
        return value

    async def wait(self, timeout: float | timedelta | None = None) -> R_co:
        """Wait for the job and return its value, as ``await result`` does, but with a time limit.

        Args:
            timeout: seconds or a timedelta. None waits without a limit, 0 checks once.

        Raises:
            ConfigError: ``timeout`` is not a duration.
            ResultTimeout: the job has no outcome yet after ``timeout``; the job goes on.
            BrokerError: the job could not be sent, or the broker does not answer.
            JobError: the job ended without a value, for example JobTimeout, JobCancelled or WorkerLost.
            Exception: the exception that the task raised.
        """
        outcome = self.arrived
        if outcome is None:
            outcome = await self._home.outcome(self, seconds_of(timeout))
        value: R_co = reveal(outcome, self._home.serializer, self.function)
        return value

    def get(self, timeout: float | timedelta | None = None) -> R_co:
        """Block this thread until the job has ended, and return its value: for code without an event loop.

        Args:
            timeout: seconds or a timedelta. None waits without a limit, 0 checks once.

        Raises:
            ConfigError: ``timeout`` is not a duration, an event loop runs in this thread, or a sync task calls this
                without a timeout (all workers could be waiting for each other).
            Exception: whatever ``wait`` raises, ResultTimeout among them.
        """
        _refuse_in_a_loop("get()", "await result")
        if timeout is None and current_job().id:
            raise ConfigError(
                "get() inside a sync task could wait for a job that waits for this very worker. "
                "Give it a timeout, or make the task `async def` and await the result."
            )
        return self._home.block(self.wait(seconds_of(timeout)))

    @property
    def blocking(self) -> Blocking:
        """Blocking versions of ``sent``, ``status``, ``cancel`` and ``forget``, for code without an event loop."""
        return Blocking(self)

    async def sent(self) -> None:
        """Wait until the broker has accepted the job.

        Raises:
            BrokerError: the broker did not accept the job, which will not run (QueueFull: its queue is full).
        """
        await self._home.accepted(self)

    async def status(self) -> Status:
        """The current status of the job.

        Raises:
            ResultExpired: the broker knows neither the job nor its outcome.
        """
        return Status(self.arrived.status) if self.arrived is not None else await self._home.status(self)

    async def cancel(self) -> Cancelled:
        """Cancel the job, queued or running. Cancelling a job twice does no harm.

        Of the handle with which a graph was sent, or with its id, this cancels every job of the graph that has not
        ended. Where one inner job is cancelled, those that need its value fail, and the others go on.

        A worker interrupts a running job at once, and kills it with its process if it has not ended a second later.
        Callers that await the job get JobCancelled, unless the job ended first.

        Returns:
            ``cancelled`` (the job has not run, or is ended), ``asked`` (a worker runs it, and has been asked to end
            it) or ``finished`` (it had already ended).

        Raises:
            ResultExpired: the broker knows neither the job nor its outcome.
        """
        seat = current_job().seat
        if seat is not None and seat.defers_cancel(self):
            from ..broker import Cancelled

            return Cancelled.ASKED
        return await self._home.cancel(self)

    async def forget(self) -> bool:
        """Remove the job's outcome from the broker, so that its id or key can be used again, as after a failure.

        A job that has not finished is left alone. If this handle already has the outcome, it keeps it.

        Returns:
            Whether the broker had an outcome to remove.
        """
        return await self._home.forget_outcome(self)

    async def graph(self) -> Graph:
        """The graph of the job: the jobs that were sent together with it, and how they stand; else it alone.

        Raises:
            ResultExpired: the broker knows neither the job nor its outcome.
        """
        return await self._home.graph(self)

    async def children(self) -> list[AsyncResult[Any]]:
        """Handles on the jobs that this job has sent while it ran, those of all its runs: the newest 1,000, for as long
        as its own result is kept. Of a graph that it has sent it lists the job that the graph was sent for."""
        return await self._home.children(self)

    def progress(self) -> AsyncIterator[Progress]:
        """Yield the progress that the job reports with ``current_job().progress(…)``: the latest first, then each
        change, in steps of 0.1 s at least, until the job has ended. What the job ended with is not raised here.

        Raises:
            ConfigError: the broker keeps no progress.
        """
        return self._home.progress(self)

    def __repr__(self) -> str:
        state = self.arrived.status if self.arrived is not None else "…"
        return f"<AsyncResult {self.id} {self.task} {state}>"


explain_absence(AsyncResult, RESULT_ELSEWHERE)


class Blocking:
    """The methods of AsyncResult for code without an event loop. Each call blocks this thread.

    Every method raises ConfigError if an event loop runs in this thread.
    """

    INSTEAD = AsyncResult.INSTEAD

    def __init__(self, result: AsyncResult[Any]) -> None:
        self._result = result

    def sent(self, timeout: float | timedelta | None = None) -> None:
        """Block this thread until the broker has accepted the job.

        Args:
            timeout: seconds or a timedelta. None waits without a limit, which can be long if the queue is full and
                the app has ``when_full="wait"``.

        Raises:
            ConfigError: ``timeout`` is not a duration, or an event loop runs in this thread.
            ResultTimeout: the broker has not accepted the job after ``timeout``; sending goes on.
            BrokerError: the broker did not accept the job, which will not run.
        """
        self._block("sent", self._sent(seconds_of(timeout)))

    async def _sent(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._result.sent()
        except TimeoutError:
            error = ResultTimeout(f'Job "{self._result.id}" was not accepted by the broker within {timeout:g} s.')
            raise about(error, self._result.id) from None

    def status(self) -> Status:
        """The current status of the job, as ``AsyncResult.status`` returns it."""
        return self._block("status", self._result.status())

    def cancel(self) -> Cancelled:
        """Cancel the job, as ``AsyncResult.cancel`` does, and return what that did."""
        return self._block("cancel", self._result.cancel())

    def forget(self) -> bool:
        """Remove the job's outcome from the broker, as ``AsyncResult.forget`` does; return whether there was one."""
        return self._block("forget", self._result.forget())

    def _block(self, word: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            _refuse_in_a_loop(f"blocking.{word}()", f"await result.{word}()")
        except ConfigError:
            work.close()
            raise
        return self._result._home.block(work)


def _refuse_in_a_loop(call: str, instead: str) -> None:
    if running_loop() is None:
        return
    raise ConfigError(f"{call} would block the running event loop. Write `{instead}` instead.")


def reveal(outcome: Outcome, serializer: Serializer, function: Any) -> Any:
    """The value in an outcome whose seal was checked, or a fresh copy of the exception, raised."""
    if outcome.status is _SUCCESS:
        if outcome.value is None:
            raise SerializationError(f'Job "{outcome.id}" succeeded, but its outcome carries no value.')
        try:
            return serializer.load_value(outcome.value, function)
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(
                f'The value of job "{outcome.id}" ({outcome.task}) cannot be read here: '
                f"{type(error).__name__}: {text_of(error).rstrip('.')}. "
                "Check that the module that defines its class can be imported."
            ) from error
    raise error_of(outcome, serializer, function)


@overload
async def gather(results: Iterable[AsyncResult[T]], *, return_exceptions: Literal[False] = False) -> list[T]: ...
@overload
async def gather(results: Iterable[AsyncResult[T]], *, return_exceptions: bool) -> list[T | Exception]: ...
async def gather(
    results: Iterable[AsyncResult[T]], *others: AsyncResult[T], return_exceptions: bool = False
) -> list[T] | list[T | Exception]:
    """Wait for many results and return their values in order, like ``asyncio.gather`` without a task per result.

    Args:
        results: results of one app or of several.
        return_exceptions: wait for all results, and return an error in the place of a value that is missing.

    Raises:
        Exception: the first error, unless ``return_exceptions`` is set; the other jobs go on.
    """
    if others or isinstance(results, AsyncResult):
        raise TypeError(
            "aiotask.gather() takes one list of results: `await aiotask.gather([first, second])`. "
            "asyncio.gather(first, second) takes them one by one."
        )
    results = list(results)
    if any([type(result) is not AsyncResult for result in results]):
        # Groups are no jobs: each waits for its members itself.
        return await asyncio.gather(*results, return_exceptions=return_exceptions)  # type: ignore[return-value]
    errors: dict[str, Exception] | None = {} if return_exceptions else None
    by_home: dict[Home, list[AsyncResult[Any]]] = {}
    for result in results:
        if result.arrived is None:
            by_home.setdefault(result._home, []).append(result)
    if len(by_home) == 1:
        for home, missing in by_home.items():
            await home.outcomes(missing, errors)
    elif by_home:
        async with asyncio.TaskGroup() as group:
            for home, missing in by_home.items():
                group.create_task(home.outcomes(missing, errors))
    if errors is None:
        return [_value(result, {}) for result in results]
    values: list[T | Exception] = []
    for result in results:
        try:
            values.append(_value(result, errors))
        except Exception as error:
            values.append(error)
    return values


def _value(result: AsyncResult[T], errors: dict[str, Exception]) -> T:
    if result.arrived is None:
        raise errors.get(result.id, AiotaskError(f'Job "{result.id}" has no outcome.'))
    value: T = reveal(result.arrived, result._home.serializer, result.function)
    return value


def seconds_of(timeout: float | timedelta | None) -> float | None:
    """A time limit in seconds; None: there is none."""
    return None if timeout is None else seconds(timeout, "timeout")
