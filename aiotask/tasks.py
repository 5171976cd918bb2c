"""A task: a registered function that can be called here, and sent."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast

from .backoff import Backoff, exponential
from .errors import ConfigError
from .options import CallOptions, TaskOptions, check_options, check_task_name, known_options
from .serializer import main_name

if TYPE_CHECKING:
    from .result import AsyncResult
    from .signature import Signature

__all__ = [
    "AsyncTask",
    "Definition",
    "Registry",
    "SyncTask",
    "Task",
    "call_of",
    "define",
]

#: What sending is called elsewhere.
_OTHERS_SAY = ("apply", "delay", "enqueue", "kiq", "schedule", "send", "send_with_options", "submit")
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


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
    #: ``early``: it runs once at most.
    acks: str = "late"
    #: What a run may use: bytes, seconds of CPU.
    memory: int | None = None
    cpu: float | None = None
    is_limited: bool = False
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
        known_options(options, CallOptions, f'task "{self.name}"')
        checked = check_options(dict(options), self.name)
        _refuse_retries(self.name, self.definition.acks, checked.get("retries", 0))
        said = self.definition.said | set(checked)
        return type(self)(replace(self.definition, **checked, said=said), self._app)

    def result(self, id: str, /) -> AsyncResult[R_co]:
        """A handle on a job of this task, sent from anywhere."""
        return self._app.handle(id, self.definition)

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference, under the name by which a worker imports the module too.
        function = self.definition.function
        return _task_in, (_module_name(function) or function.__module__, function.__qualname__)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = " To send the call: .apply_async(…), and later: .options(delay=…).apply_async(…)."
            raise AttributeError(
                f'"{type(self).__name__}" has no attribute "{name}".{hint if name in _OTHERS_SAY else ""}'
            )

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


def _task_in(module: str, qualname: str) -> Any:
    """The task that a module holds under this name."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def call_of(task: Definition, app: str) -> tuple[str | float | bool | None, ...]:
    """What tells this call from others of the same arguments: app, task and options."""
    said = task.said
    retries = task.retries if said and "retries" in said else None
    timeout = task.timeout if said and "timeout" in said else -1.0
    where = app, task.name, task.queue, task.priority, task.delay, task.eta
    return *where, retries, timeout, task.result_ttl, task.ignore_result


# ---- defining


def define(function: Callable[..., Any], options: TaskOptions) -> Definition:
    """The definition of a function with these options.

    Raises:
        ConfigError: it is no function that can be a task, or an option is wrong.
    """
    known_options(options, TaskOptions, f'task "{getattr(function, "__qualname__", function)}"')
    _refuse_what_is_no_task(function, options)
    name = options.get("name")
    homeless = False
    if name is not None:
        check_task_name(name)
    else:
        module = _module_name(function)
        homeless = module is None
        name = f"{module or '__main__'}:{function.__qualname__}"
    checked = check_options({key: value for key, value in options.items() if key != "name"}, name)
    _refuse_retries(name, checked.get("acks", "late"), checked.get("retries", 0))
    return Definition(
        name=name,
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        check=_checker(function),
        homeless=homeless,
        is_limited=bool(checked.get("memory") or checked.get("cpu")),
        **checked,
    )


def _refuse_what_is_no_task(function: Any, options: TaskOptions) -> None:
    if isinstance(function, Task):
        raise ConfigError(f'"{function.name}" is a task already.')
    if isinstance(function, staticmethod | classmethod) or inspect.ismethod(function):
        raise ConfigError(_NO_METHODS.format(getattr(function, "__qualname__", function)))
    if not callable(function):
        raise ConfigError(f"{function!r} is not callable. Write @app.task or @app.task(option=…) above a function.")
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


def _refuse_retries(name: str, acks: str, retries: int) -> None:
    if acks == "early" and retries:
        raise ConfigError(
            f'Task "{name}": acks="early" means that a job runs once at most, and retries={retries} asks for more. '
            'Leave one of them out: with acks="late", the default, a job may be retried.'
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
    return main_name() if function.__module__ == "__main__" else str(function.__module__)


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
