"""Middleware: code around every call that an app sends, and around every job that its workers run."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from .context import JobContext
from .depends import Injection
from .errors import ConfigError
from .settings import switch

__all__ = [
    "Around",
    "Call",
    "Hooks",
    "Middleware",
    "Owner",
    "around_of",
    "check_headers",
    "depart",
    "hooks_of",
    "leave",
    "outermost",
    "traced",
]

#: Bytes that the headers of one call may have, names and values together.
MAX_HEADERS = 8192


class Sent(Protocol):
    """What becomes of a call: it has the id of the job."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Sent)


class Owner(Protocol):
    """An app, as its middleware sees it."""

    name: str

    @property
    def broker_url(self) -> str:
        """The address of the broker with its password masked."""
        ...


class Call:
    """A call on its way out, which ``Middleware.send`` may look at and change.

    Attributes:
        task: name of the task.
        queue: name of the queue that the job goes to.
        args: positional arguments.
        kwargs: arguments by name.
        headers: text by name that travels with the job, and which the job finds in ``current_job().headers``.
        id: id of the job. Empty until the call has been serialized: most ids are made then.
        is_scheduled: whether this is the call of a schedule, all of whose runs get these arguments and headers.
    """

    __slots__ = ("args", "headers", "id", "is_scheduled", "kwargs", "queue", "task")

    def __init__(
        self,
        task: str,
        queue: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        id: str = "",
        *,
        is_scheduled: bool = False,
    ) -> None:
        self.task = task
        self.queue = queue
        self.args = args
        self.kwargs = kwargs
        self.headers: dict[str, str] = {}
        self.id = id
        self.is_scheduled = is_scheduled

    def __repr__(self) -> str:
        return f"<Call {self.task}>"


class Middleware:
    """Code around calls and jobs of an app: derive a class, and give an object of it to ``App(middleware=[…])``.

    Of several, the first one is the outermost. A method that a class does not override costs nothing.
    """

    def attach(self, app: Owner, /) -> None:
        """Called when an app is given this middleware, before it sends anything or is served."""
        return None

    def send(self, call: Call, /) -> AbstractContextManager[None]:
        """A context manager around one call on its way out; it may change arguments and headers, or raise.

        The arguments are checked after it was entered, and the call is serialized and handed over within it.
        """
        return contextlib.nullcontext()

    def execute(self, job: JobContext, /) -> AbstractContextManager[None] | AbstractAsyncContextManager[None]:
        """A context manager around one run of the function, in the thread or asyncio task in which that runs.

        Async tasks also take an async one. An error that it raises is the job's. An error of the function that it
        catches remains the job's, too.
        """
        return contextlib.nullcontext()

    def on_run_end(self, job: JobContext, status: str, error: Exception | None, /) -> Awaitable[None] | None:
        """Called when a run has ended and its worker knows what becomes of the job, before the broker has taken that.

        ``status`` is the next one of the job: a final one, ``RETRYING``, ``WAITING`` (for the jobs that the run has
        returned), ``PARKED``, or ``PENDING`` if the worker stops and gives the job back. ``error`` is that of the run,
        also where ``execute`` could not see it: the value could not be serialized, or a time limit was exceeded.

        It runs in the event loop of the worker, once per run, and once per item of a batch; an error that it raises is
        logged.
        """
        return None

    def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> Awaitable[None] | None:
        """Called when the broker has taken a job back for another run, in ``delay`` seconds.

        It runs in the event loop of the worker, at most once per run; an error that it raises is logged.
        """
        return None

    def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> Awaitable[None] | None:
        """Called when the broker has the outcome of a job that this worker ran; ``status`` is a final one.

        It runs in the event loop of the worker, at most once per job; an error that it raises is logged.
        """
        return None

    def on_exit(self) -> None:
        """Called before a worker process ends by itself, after its last job and the close of its lifespans.

        It runs in a thread of its own, and not in a worker that shares your process (``app.worker()``). All middleware
        of a process together has 2 seconds, after which the process ends all the same.
        """
        return None


class Hooks(NamedTuple):
    """The methods that the middleware of an app overrides, in the order of the middleware."""

    send: Sequence[Callable[[Call], AbstractContextManager[None]]] = ()
    execute: Sequence[Callable[[JobContext], Any]] = ()
    on_retry: Sequence[Callable[[JobContext, Exception, float], Any]] = ()
    on_finish: Sequence[Callable[[JobContext, str, Exception | None], Any]] = ()
    on_run_end: Sequence[Callable[[JobContext, str, Exception | None], Any]] = ()
    on_exit: Sequence[Callable[[], None]] = ()


class Around(NamedTuple):
    """What stands around the function of a task when a worker runs it.

    Attributes:
        execute: methods of the middleware, the outermost first.
        injection: what the worker provides to the function; None: nothing.
    """

    execute: Sequence[Callable[[JobContext], Any]]
    injection: Injection | None


def traced(middleware: Sequence[Middleware]) -> Sequence[Middleware]:
    """The middleware of an app, with OpenTelemetry around it where ``AIOTASK_OTEL`` asks for that and it has none.

    Raises:
        ConfigError: the variable is neither 1 nor 0, or OpenTelemetry is not installed.
    """
    if not switch("OTEL"):
        return middleware
    # By its name: integrations lie above the app, and nothing else may load OpenTelemetry.
    tracing = importlib.import_module("aiotask.contrib.otel").Tracing
    if not isinstance(middleware, list | tuple) or any(isinstance(each, tracing) for each in middleware):
        return middleware
    return [tracing(), *middleware]


def hooks_of(middleware: Sequence[Middleware], app: Owner) -> Hooks:
    """The hooks of ``App(middleware=…)``, each attached to the app.

    Raises:
        ConfigError: an entry is no Middleware, or a method of one is not of the right kind.
    """
    if isinstance(middleware, Middleware):
        raise ConfigError(f"middleware: give a list of objects, as in [{type(middleware).__qualname__}()].")
    for each in middleware:
        if isinstance(each, type) and issubclass(each, Middleware):
            raise ConfigError(f"middleware: {each.__qualname__} is a class. Give an object: {each.__qualname__}().")
        if not isinstance(each, Middleware):
            raise ConfigError(f"middleware: {each!r} is not an aiotask.Middleware. Derive its class from that one.")
        for name in ("send", "execute"):
            _refuse_bare(getattr(each, name))
    for each in middleware:
        each.attach(app)
    return Hooks(*([getattr(each, name) for each in middleware if _overrides(each, name)] for name in Hooks._fields))


def outermost(added: Hooks, hooks: Hooks) -> Hooks:
    """Both, the added ones around the others."""
    both: list[Any] = [[*outer, *inner] for outer, inner in zip(added, hooks, strict=True)]
    return Hooks(*both)


def _overrides(middleware: Middleware, name: str) -> bool:
    return getattr(type(middleware), name) is not getattr(Middleware, name)


def _refuse_bare(method: Callable[..., Any]) -> None:
    """Refuse a generator or coroutine function that no decorator has made a context manager of."""
    if inspect.isgeneratorfunction(method):
        raise ConfigError(f"{_name(method)} is a generator. Write @contextlib.contextmanager above it.")
    if inspect.isasyncgenfunction(method) and method.__name__ == "execute":
        raise ConfigError(f"{_name(method)} is a generator. Write @contextlib.asynccontextmanager above it.")
    if _is_async(method) and method.__name__ == "send":
        raise ConfigError(f"{_name(method)} is async, but calls are sent from sync code, too: make it a plain one.")
    if inspect.iscoroutinefunction(method):
        raise ConfigError(
            f"{_name(method)} is `async def`. Make it a context manager: @contextlib.asynccontextmanager."
        )


def _is_async(method: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(method)
    return inspect.isasyncgenfunction(inner) or inspect.iscoroutinefunction(inner)


def _name(method: Callable[..., Any]) -> str:
    return getattr(method, "__qualname__", repr(method))


def around_of(hooks: Hooks, injection: Injection | None, task: str, *, is_async: bool) -> Around | None:
    """What stands around the function of this task; None: nothing does.

    Raises:
        ConfigError: the task is sync, and a middleware has an async ``execute``.
    """
    for method in () if is_async else hooks.execute:
        if _is_async(method):
            raise ConfigError(
                f'Task "{task}" is sync, but {_name(method)} of the middleware is async, which only async tasks have. '
                "Make it a plain context manager, which serves both, or the task `async def`."
            )
    return Around(hooks.execute, injection) if hooks.execute or injection is not None else None


# ---- sending


def depart(
    hooks: Sequence[Callable[[Call], AbstractContextManager[None]]],
    call: Call,
    send: Callable[[tuple[Any, ...], dict[str, Any], dict[str, str]], T],
) -> T:
    """Send one call through the middleware: what ``send`` returns for its arguments and headers.

    Raises:
        ConfigError: the middleware has made something else of the call than arguments and headers.
    """
    with Departures() as middleware:
        leave(middleware, hooks, call)
        sent = send(call.args, call.kwargs, call.headers)
        call.id = sent.id
        return sent


class Departures(ExitStack):
    """A block around calls on their way out: when it ends, the middleware around each of them is left.

    A middleware that catches an error does not make a success of it: nothing was sent, so the error is raised.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Literal[False]:
        super().__exit__(kind, error, trace)
        return False


def leave(stack: ExitStack, hooks: Sequence[Callable[[Call], AbstractContextManager[None]]], call: Call) -> Call:
    """Enter ``send`` of the middleware for one call: the call as it is to be sent, with its headers checked.

    Args:
        stack: to be closed when the call has been handed over for sending.

    Raises:
        ConfigError: the middleware has made something else of the call than arguments and headers.
    """
    task, call.kwargs = call.task, dict(call.kwargs)
    for hook in hooks:
        manager = hook(call)
        if not hasattr(type(manager), "__enter__"):
            raise ConfigError(f"{_name(hook)} returned {manager!r}, which is not a context manager (a `with` block).")
        stack.enter_context(manager)
    if not isinstance(call.args, tuple | list) or not isinstance(call.kwargs, dict):
        raise ConfigError(f'Task "{task}": middleware has set the arguments to {call.args!r} and {call.kwargs!r}.')
    call.args = tuple(call.args)
    call.headers = check_headers(call.headers, task)
    return call


def check_headers(headers: object, task: str) -> dict[str, str]:
    """The headers, if they may travel with a job of this task.

    Raises:
        ConfigError: they are not text by name, or have more than 8,192 bytes.
    """
    if not isinstance(headers, dict):
        raise ConfigError(f'Task "{task}": headers={headers!r}: give a dict of text by name.')
    size = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f'Task "{task}": the header {name!r}: {value!r} is not text. Names and values are text.')
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise ConfigError(f'Task "{task}": the header {name!r} is not valid Unicode text.') from None
    if size > MAX_HEADERS:
        raise ConfigError(
            f'Task "{task}": the headers of the call have {size:,} bytes, more than {MAX_HEADERS:,}. '
            "Store the data elsewhere, and send an ID."
        )
    return dict(headers)
