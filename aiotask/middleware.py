"""Middleware: code around every call that an app sends, and around every job that its workers run."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

from .context import JobContext
from .depends import Injection
from .errors import ConfigError

__all__ = [
    "Around",
    "Call",
    "Hooks",
    "Middleware",
    "around_of",
    "check_headers",
    "depart",
    "hooks_of",
    "leave",
    "outermost",
]

T = TypeVar("T")

#: Bytes that the headers of one call may have, names and values together.
MAX_HEADERS = 8192


class Call:
    """A call on its way out, which ``Middleware.send`` may look at and change.

    Attributes:
        task: name of the task.
        args: positional arguments.
        kwargs: arguments by name.
        headers: text by name that travels with the job, and which the job finds in ``current_job().headers``.
    """

    __slots__ = ("args", "headers", "kwargs", "task")

    def __init__(self, task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Call {self.task}>"


class Middleware:
    """Code around calls and jobs of an app: derive a class, and give an object of it to ``App(middleware=[…])``.

    Of several, the first one is the outermost. A method that a class does not override costs nothing.
    """

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


class Hooks(NamedTuple):
    """The methods that the middleware of an app overrides, in the order of the middleware."""

    send: Sequence[Callable[[Call], AbstractContextManager[None]]] = ()
    execute: Sequence[Callable[[JobContext], Any]] = ()
    on_retry: Sequence[Callable[[JobContext, Exception, float], Any]] = ()
    on_finish: Sequence[Callable[[JobContext, str, Exception | None], Any]] = ()


class Around(NamedTuple):
    """What stands around the function of a task when a worker runs it.

    Attributes:
        execute: methods of the middleware, the outermost first.
        injection: what the worker provides to the function; None: nothing.
    """

    execute: Sequence[Callable[[JobContext], Any]]
    injection: Injection | None


def hooks_of(middleware: Sequence[Middleware]) -> Hooks:
    """The hooks of ``App(middleware=…)``.

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
    task: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    send: Callable[[tuple[Any, ...], dict[str, Any], dict[str, str]], T],
) -> T:
    """Send one call through the middleware: what ``send`` returns for its arguments and headers.

    Raises:
        ConfigError: the middleware has made something else of the call than arguments and headers.
    """
    with Departures() as middleware:
        call = leave(middleware, hooks, task, args, kwargs)
        return send(call.args, call.kwargs, call.headers)


class Departures(ExitStack):
    """A block around calls on their way out: when it ends, the middleware around each of them is left.

    A middleware that catches an error does not make a success of it: nothing was sent, so the error is raised.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Literal[False]:
        super().__exit__(kind, error, trace)
        return False


def leave(
    stack: ExitStack,
    hooks: Sequence[Callable[[Call], AbstractContextManager[None]]],
    task: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Call:
    """Enter ``send`` of the middleware for one call: the call as it is to be sent, with its headers checked.

    Args:
        stack: to be closed when the call has been handed over for sending.

    Raises:
        ConfigError: the middleware has made something else of the call than arguments and headers.
    """
    call = Call(task, args, dict(kwargs))
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
