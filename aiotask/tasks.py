"""A task: a registered function that can be called here, and sent."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack, cast

from .backoff import Backoff, exponential
from .errors import ConfigError

if TYPE_CHECKING:
    from .result import AsyncResult
    from .signature import Signature

__all__ = [
    "AsyncTask",
    "CallOptions",
    "Definition",
    "Registry",
    "SyncTask",
    "Task",
    "TaskOptions",
    "check_name",
    "define",
    "seconds",
]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


class CallOptions(TypedDict, total=False):
    """How one call is sent.

    queue: name of the queue. delay: seconds from now. eta: aware datetime or Unix seconds.
    retries: further runs after a failed one. timeout: seconds a run may take, None for no limit.
    priority: 0 is first, 9 last. key: calls of this task with the same key are the same job while its
    outcome is kept. id: the job's id; a job that is known by it already is the same job.
    """

    queue: str
    delay: float | timedelta
    eta: datetime | float
    retries: int
    timeout: float | timedelta | None
    priority: int
    key: str
    id: str


class TaskOptions(CallOptions, total=False):
    """How a task is registered: what its calls are sent with, and more.

    name: instead of ``module:qualname``. aliases: further names under which jobs may arrive.
    retry_on: exceptions that are retried. backoff: seconds to wait, given the number of failed runs.
    result_ttl: seconds that an outcome is kept. ignore_result: no outcome is stored or told.
    """

    name: str
    aliases: tuple[str, ...]
    retry_on: tuple[type[Exception], ...]
    backoff: Backoff
    result_ttl: float | timedelta
    ignore_result: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """What a registry knows of a task; all durations in seconds."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    check: Callable[..., None]
    queue: str = "default"
    delay: float = 0.0
    eta: float | None = None
    retries: int = 0
    timeout: float | None = None
    priority: int = 5
    retry_on: tuple[type[Exception], ...] = (Exception,)
    backoff: Backoff = field(default_factory=exponential)
    result_ttl: float | None = None
    ignore_result: bool = False
    aliases: tuple[str, ...] = ()
    id: str | None = None
    key: str | None = None
    #: What was said at the call itself and therefore travels with the job.
    said: frozenset[str] = frozenset()
    #: It was defined in an interactive session, where no worker process finds it.
    homeless: bool = False


class Registry:
    """The tasks of one app by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, Definition] = {}

    def add(self, task: Definition) -> None:
        """Register a task; the same function again replaces it (a reload).

        Raises:
            ConfigError: another function has the name.
        """
        for name in (task.name, *task.aliases):
            known = self._tasks.get(name)
            if known is not None and not _same_function(known.function, task.function):
                raise ConfigError(
                    f'The name "{name}" is taken by {_where(known.function)}; '
                    f"{_where(task.function)} cannot have it too. Give one of them another name: @app.task(name='…')."
                )
        for name in (task.name, *task.aliases):
            self._tasks[name] = task

    def get(self, name: str) -> Definition | None:
        return self._tasks.get(name)

    def __iter__(self) -> Iterator[Definition]:
        return iter({task.name: task for task in self._tasks.values()}.values())

    def __len__(self) -> int:
        return len({task.name for task in self._tasks.values()})

    @property
    def names(self) -> list[str]:
        """Every name under which a job may arrive."""
        return sorted(self._tasks)

    @property
    def queues(self) -> list[str]:
        """Every queue that a task names, and ``default``."""
        return sorted({"default", *(task.queue for task in self)})


class Sender(Protocol):
    """What a task needs from its app."""

    def send(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncResult[Any]: ...
    def sign(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature[Any]: ...
    def handle(self, id: str, task: Definition) -> AsyncResult[Any]: ...


class Task(Generic[P, R_co]):
    """A registered function. ``task(...)`` runs it here, ``task.apply_async(...)`` sends it."""

    def __init__(self, definition: Definition, app: Sender) -> None:
        self.definition = definition
        self._app = app
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function, updated=())

    @property
    def name(self) -> str:
        return self.definition.name

    def apply_async(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Send the call; returns at once, with the arguments encoded as they are now.

        Raises:
            TypeError: the arguments do not fit the function; nothing was sent.
            SerializationError: an argument cannot travel; nothing was sent.
        """
        return self._app.send(self.definition, args, kwargs)

    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]:
        """The call as a value, to be sent later."""
        return self._app.sign(self.definition, args, kwargs)

    def options(self, /, **options: Unpack[CallOptions]) -> Self:
        """A copy of this task whose calls are sent with these options.

        Raises:
            ConfigError: there is no such option, or its value is out of range.
        """
        _known_options(options, CallOptions, f'task "{self.name}"')
        checked = _checked(dict(options), self.name)
        said = self.definition.said | set(checked)
        return type(self)(replace(self.definition, **checked, said=said), self._app)

    def result(self, id: str, /) -> AsyncResult[R_co]:
        """A handle on a job of this task, sent from anywhere."""
        return self._app.handle(id, self.definition)

    def __reduce__(self) -> str:
        # By reference, as a function is: the name under which its module holds it.
        return str(getattr(self, "__qualname__", self.name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class SyncTask(Task[P, R_co]):
    """A task that is a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return cast("R_co", self.definition.function(*args, **kwargs))


class AsyncTask(Task[P, R_co]):
    """A task that is a coroutine function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        return cast("Coroutine[Any, Any, R_co]", self.definition.function(*args, **kwargs))


# ---- defining


def define(function: Callable[..., Any], options: TaskOptions) -> Definition:
    """The definition of a function with these options.

    Raises:
        ConfigError: it is no function that can be a task, or an option is wrong.
    """
    _known_options(options, TaskOptions, f'task "{getattr(function, "__qualname__", function)}"')
    _refuse_what_is_no_task(function, options)
    name = options.get("name")
    homeless = False
    if name is None:
        module = _module_name(function)
        homeless = module is None
        name = f"{module or '__main__'}:{function.__qualname__}"
    checked = _checked({key: value for key, value in options.items() if key != "name"}, name)
    return Definition(
        name=name,
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        check=_checker(function),
        homeless=homeless,
        **checked,
    )


def _known_options(options: Any, known: type[Any], whose: str) -> None:
    names = sorted(known.__annotations__)
    if known is not CallOptions:
        names = sorted({*names, *CallOptions.__annotations__})
    for option in options:
        if option not in names:
            close = difflib.get_close_matches(option, names, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else f"There are: {', '.join(names)}."
            raise ConfigError(f'Unknown option "{option}" for {whose}. {hint}')


def _refuse_what_is_no_task(function: Any, options: TaskOptions) -> None:
    if isinstance(function, Task):
        raise ConfigError(f'"{function.name}" is a task already.')
    if not callable(function):
        raise ConfigError(f"{function!r} is not callable. Write @app.task or @app.task(option=…) above a function.")
    if isinstance(function, staticmethod | classmethod) or inspect.ismethod(function):
        raise ConfigError(_NO_METHODS.format(getattr(function, "__qualname__", function)))
    if isinstance(function, type):
        raise ConfigError(f'"{function.__qualname__}" is a class; a task is a function. Wrap the call in one.')
    qualname = getattr(function, "__qualname__", None)
    if qualname is None and "name" not in options:
        raise ConfigError(f'{function!r} has no name of its own. Give it one: app.register_task(fn, name="…").')
    if qualname is not None and "." in qualname and not qualname.rpartition(".")[0].endswith("<locals>"):
        raise ConfigError(_NO_METHODS.format(qualname))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f'"{qualname}" is a generator; results that stream are not part of this release. Return a list.'
        )


_NO_METHODS = (
    '"{}" is a method, and a worker would have no object to call it on. '
    "Make it a function that takes what it needs, or an id to load it by."
)


def _same_function(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    if one is other:
        return True
    if getattr(one, "__qualname__", "<lambda>") == "<lambda>":
        return False
    return (one.__module__, one.__qualname__) == (other.__module__, getattr(other, "__qualname__", ""))


def _where(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def _module_name(function: Callable[..., Any]) -> str | None:
    """The module's name as another process imports it; None where no process can."""
    module = function.__module__
    if module != "__main__":
        return str(module)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name = str(spec.name)
        return name.removesuffix(".__main__") if name.endswith(".__main__") else name
    path = getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):
        return None
    file = os.path.realpath(path)
    # A worker starts with its current directory on the path, a script with its own folder.
    folders = [*sys.path[1:], os.getcwd(), os.path.dirname(file)]
    for folder in folders:
        root = os.path.realpath(folder or os.getcwd())
        if file.startswith(root + os.sep) and not root.endswith(("site-packages", "dist-packages")):
            dotted = os.path.splitext(os.path.relpath(file, root))[0].replace(os.sep, ".")
            if all(part.isidentifier() for part in dotted.split(".")):
                return str(dotted)
    return str(os.path.splitext(os.path.basename(file))[0])


def _checker(function: Callable[..., Any]) -> Callable[..., None]:
    """A function that takes the same arguments and does nothing: Python itself checks a call, in 100 ns."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return lambda *args, **kwargs: None
    parts: list[str] = []
    last = None
    for parameter in parameters:
        kind = parameter.kind
        if last is parameter.POSITIONAL_ONLY and kind is not last:
            parts.append("/")
        if kind is parameter.KEYWORD_ONLY and last not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            parts.append("*")
        star = "*" if kind is parameter.VAR_POSITIONAL else "**" if kind is parameter.VAR_KEYWORD else ""
        parts.append(f"{star}{parameter.name}{'' if parameter.default is parameter.empty else '=None'}")
        last = kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    name = getattr(function, "__name__", "task")
    name = name if name.isidentifier() else "task"
    space: dict[str, Any] = {}
    exec(f"def {name}({', '.join(parts)}): pass", space)
    return cast("Callable[..., None]", space[name])


# ---- checking options


def seconds(value: float | timedelta, what: str) -> float:
    """A duration in float seconds.

    Raises:
        ConfigError: it is negative or no duration.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{what}={value!r} is no duration: give seconds (0 or more) or a timedelta.")
    return float(value)


def check_name(name: str, what: str) -> str:
    """A name that may stand in a key: letters, digits, ``_ . -``.

    Raises:
        ConfigError: it may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name {what}: use 1 to 100 of the characters A-Z a-z 0-9 _ . -")
    return name


def _whole(value: Any, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{what}={value!r} is out of range: a whole number from {low} to {high}.")
    return value


def _moment(value: Any) -> float:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigError(f"eta={value!r} has no time zone. Use datetime.now(timezone.utc) + …, or delay=….")
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"eta={value!r} is no moment: give an aware datetime or Unix seconds.")
    return float(value)


def _identifier(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or any(c in value for c in "|,\n\0 "):
        raise ConfigError(f"{what}={value!r}: give a text of 1 to 200 characters without spaces, commas and bars.")
    return value


def _exceptions(value: Any) -> tuple[type[Exception], ...]:
    kinds = tuple(value) if isinstance(value, tuple | list) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigError(f"retry_on={value!r}: give exception classes, as in (ConnectionError, TimeoutError).")
    return kinds


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": lambda value: check_name(value, "a queue"),
    "delay": lambda value: seconds(value, "delay"),
    "eta": _moment,
    "retries": lambda value: _whole(value, "retries", 0, 1_000_000),
    "timeout": lambda value: None if value is None else seconds(value, "timeout"),
    "priority": lambda value: _whole(value, "priority", 0, 9),
    "key": lambda value: _identifier(value, "key"),
    "id": lambda value: _identifier(value, "id"),
    "retry_on": _exceptions,
    "result_ttl": lambda value: seconds(value, "result_ttl"),
    "aliases": lambda value: (value,) if isinstance(value, str) else tuple(value),
}


def _checked(options: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        return {key: _CHECKS[key](value) if key in _CHECKS else value for key, value in options.items()}
    except ConfigError as error:
        raise ConfigError(f'Task "{name}": {error}') from None
