"""Tasks: registered functions, which can be called in this process or sent to a worker."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast
from weakref import WeakSet

from ..backoff import Backoff, exponential
from ..errors import ConfigError, SerializationError
from ..functions.hints import TASK_ELSEWHERE, explain_absence, wrong_arguments
from ..functions.main_module import MAINS, home_of
from ..functions.reloads import Run, current_run, is_reload, why_refused
from ..functions.template import Maker
from ..job import RELEASE, WIRE_VERSION
from ..values.unique import check_unique
from .options import CallOptions, check_options, check_together, fields_of, known_options

if TYPE_CHECKING:
    from ..functions.batches import Batching
    from ..middleware import Around, Hooks
    from ..results.group import GroupResult
    from ..results.result import AsyncResult
    from ..signature import Signature
    from ..wire.seal import Sealer
    from ..wire.serializer import Serializer

__all__ = ["AsyncTask", "Definition", "Registry", "SyncTask", "Task"]

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Definition:
    """A task as its registry knows it; all durations in seconds."""

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
    #: ``early``: a job of the task runs once at most.
    acks: str = "late"
    #: Limits of a run: bytes of memory, seconds of CPU.
    memory: int | None = None
    cpu: float | None = None
    is_limited: bool = False
    aliases: tuple[str, ...] = ()
    id: str | None = None
    key: str | Maker | None = None
    #: Names of the options given at the call itself, which therefore travel with the job.
    explicit: frozenset[str] = frozenset()
    #: Options that travel in ``Job.more``, by name.
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    stream: Any = None  # the class of the task, if its function is a generator
    #: Why no worker process finds the function, as the end of a sentence; empty: workers find it.
    homeless: str = ""
    #: Middleware and providers around the function in a worker.
    around: Around | None = field(default=None, hash=False, compare=False)
    #: How calls are gathered; then ``function`` is that of one item. None: each job is a call.
    batch: Batching | None = None
    #: Whether a worker has a row of its own for jobs of the task: they run once at most, or in batches.
    goes_apart: bool = False

    def refuse_gaps(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise ConfigError if a call in this process leaves out what only a worker provides."""
        if self.around is not None and self.around.injection is not None:
            self.around.injection.refuse_gaps(self.name, self.function, args, kwargs)

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check the arguments of a call; TypeError says what is wrong with them."""
        try:
            self.check(*args, **kwargs)
        except TypeError as error:
            raise wrong_arguments(self.name, args, kwargs, error) from None

    def option(self, name: str) -> Any:
        """The checked value of an option."""
        return self.more[name] if name in self.more else getattr(self, name)


class Registry:
    """The tasks of one app by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, Definition] = {}
        #: Returns the task of a name or alias, or None. No method around it: a worker calls it for every job.
        self.get = self._tasks.get
        #: The module or prompt entry that was being executed when each name was registered.
        self._runs: dict[str, Run] = {}

    def add(self, task: Definition) -> None:
        """Register a task; the same function again replaces it (a reload).

        Raises:
            ConfigError: another function has the name.
        """
        now = current_run()
        for name in (task.name, *task.aliases):
            known = self._tasks.get(name)
            if known is not None and not is_reload(known.function, task.function, self._runs[name], now):
                raise ConfigError(why_refused(name, known.function, task.function))
        for name in (task.name, *task.aliases):
            self._tasks[name] = task
            self._runs[name] = now

    def replace(self, changed: Callable[[Definition], Definition]) -> None:
        """Put what ``changed`` returns for each task in its place."""
        tasks = {task.name: changed(task) for task in self}
        for name, task in self._tasks.items():
            self._tasks[name] = tasks[task.name]

    def __iter__(self) -> Iterator[Definition]:
        return iter({task.name: task for task in self._tasks.values()}.values())

    def __len__(self) -> int:
        return len({task.name for task in self._tasks.values()})

    @property
    def names(self) -> list[str]:
        """Every name under which a job may arrive."""
        return sorted(self._tasks)

    @property
    def needs(self) -> list[str]:
        """The needs of parked jobs that this process meets: its tasks, its Python, releases up to its own."""
        python = f"python:{sys.version_info[0]}.{sys.version_info[1]}"
        releases = (f"release:{number}" for number in range(WIRE_VERSION + 1, RELEASE + 1))
        return [*(f"task:{name}" for name in self.names), python, *releases]

    @property
    def queues(self) -> list[str]:
        """Every queue that a task names, and ``default``."""
        return sorted({"default", *(task.queue for task in self)})


class Sender(Protocol):
    """The app of a task, as far as its tasks and signatures need it."""

    name: str
    registry: Registry
    result_ttl: float
    hooks: Hooks

    @property
    def serializer(self) -> Serializer: ...
    @property
    def jobs_sealer(self) -> Sealer: ...
    def send(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncResult[Any]: ...
    def send_signed(self, task: Definition, call: Signature[Any]) -> AsyncResult[Any]: ...
    def sign(self, task: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature[Any]: ...
    def map(self, task: Definition, items: Iterable[Any], chunk: int | None) -> GroupResult[Any]: ...
    def handle(self, id: str, task: Definition) -> AsyncResult[Any]: ...
    def refuse_homeless(self, task: Definition) -> None: ...


#: Every app of this process that still exists. A task that arrives as an argument is looked up there.
apps_here: WeakSet[Sender] = WeakSet()


class _OneArgument(Protocol[A_contra, R_co]):
    """A task that may be called with one argument."""

    def apply_async(self, arg: A_contra, /) -> AsyncResult[R_co]: ...


class Task(Generic[P, R_co]):
    """A function that is registered with an app.

    ``task(...)`` calls the function in this process, ``task.apply_async(...)`` sends the call to a worker. ``func``,
    also available as ``__wrapped__``, is the function itself.
    """

    def __init__(self, definition: Definition, app: Sender) -> None:
        self.definition = definition
        self._app = app
        # For a partial and an object, which have no name of their own; else ``update_wrapper`` sets both.
        self.__name__ = self.__qualname__ = definition.name.rpartition(":")[2]
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function, updated=())

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def func(self) -> Callable[..., Any]:
        """The registered function, including its other decorators. Calling it runs it in this process."""
        return self.definition.function

    def apply_async(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Serialize the arguments as they are now, hand the job over for sending, and return at once.

        Await the result for the return value, or ``result.sent()`` to know that the broker has accepted the job.

        Raises:
            TypeError: the arguments do not match the signature of the function; nothing was sent.
            SerializationError: an argument cannot be serialized; nothing was sent.
            ConfigError: a setting of the app is wrong; nothing was sent.
        """
        return self._app.send(self.definition, args, kwargs)

    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]:
        """Create a call that can be stored, passed on, and sent later with ``apply_async()``."""
        return self._app.sign(self.definition, args, kwargs)

    def map(self: _OneArgument[A, T], items: Iterable[A], /, *, chunk: int | None = None) -> GroupResult[T]:
        """Send a call for each item, all of them or none; await the result for the list of values, in order.

        Args:
            chunk: number of items that one job runs, with one time limit and one set of retries. None: each item is a
                job of its own.

        Raises:
            ConfigError: ``chunk`` is not a whole number from 1, or the task has an id or a key.
            SerializationError: an item cannot be serialized; nothing was sent.
        """
        task = cast("Task[[A], T]", self)
        return task._app.map(task.definition, items, chunk)

    def options(self, /, **options: Unpack[CallOptions]) -> Self:
        """A copy of this task whose calls are sent with these options (see CallOptions).

        Raises:
            ConfigError: an option does not exist, or its value is out of range.
        """
        known_options(options, CallOptions, f'task "{self.name}"')
        checked = check_options(dict(options), self.name)
        explicit = self.definition.explicit | set(checked)
        changed = replace(self.definition, **fields_of(checked, self.definition.more), explicit=explicit)
        return type(self)(consistent(changed), self._app)

    def result(self, id: str, /) -> AsyncResult[R_co]:
        """A handle on the job of this task with this id, whichever process sent it.

        Raises:
            ConfigError: the id is empty or not text.
        """
        return self._app.handle(id, self.definition)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference, under the name by which a worker imports the module.
        function, explicit = self.definition.function, self.definition.explicit
        module = home_of(function).name or function.__module__
        name = getattr(function, "__qualname__", "")
        if not explicit and _is_found(self.definition, function.__module__, name):
            return _task_in, (module, name)
        options = {option: self.definition.option(option) for option in sorted(explicit)}
        return _task_named, (self._app.name, self.name, module, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class SyncTask(Task[P, R_co]):
    """A task whose function is a plain function: calling the task returns the value of the function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        self.definition.refuse_gaps(args, kwargs)
        return cast("R_co", self.definition.function(*args, **kwargs))


class AsyncTask(Task[P, R_co]):
    """A task whose function is ``async def``; ``inspect`` and ``asyncio`` also see it as a coroutine function."""

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        self.definition.refuse_gaps(args, kwargs)
        return cast("R_co", await self.definition.function(*args, **kwargs))

    if not TYPE_CHECKING:
        # ``asyncio.iscoroutinefunction`` asks for this one, ``inspect.iscoroutinefunction`` from Python 3.12 on for
        # the next one, and before that for the code of a function or of what looks like one.
        _is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", True)
        _is_coroutine_mark = getattr(inspect, "_is_coroutine_mark", True)

        @property
        def __code__(self) -> CodeType:
            code = getattr(self.definition.function, "__code__", None)
            is_async = isinstance(code, CodeType) and code.co_flags & inspect.CO_COROUTINE
            return code if is_async else type(self).__call__.__code__

        @property
        def __defaults__(self) -> tuple[Any, ...] | None:
            return getattr(self.definition.function, "__defaults__", None)

        @property
        def __kwdefaults__(self) -> dict[str, Any] | None:
            return getattr(self.definition.function, "__kwdefaults__", None)


explain_absence(Task, TASK_ELSEWHERE)


class _WithHints(Task[P, R_co]):
    """A task of a function with attributes of its own, such as the ``cache_clear`` of ``functools.lru_cache``."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = TASK_ELSEWHERE.get(name, "")
            if not hint and not name.startswith("__") and hasattr(self.definition.function, name):
                hint = f"The function has it: .func.{name}"
            text = f'"{type(self).__name__}" has no attribute "{name}". {hint}'
            raise AttributeError(text.rstrip(), name=name, obj=self)


class _SyncTaskWithHints(_WithHints[P, R_co], SyncTask[P, R_co]): ...


class _AsyncTaskWithHints(_WithHints[P, R_co], AsyncTask[P, R_co]): ...


_SyncTaskWithHints.__name__ = SyncTask.__name__
_AsyncTaskWithHints.__name__ = AsyncTask.__name__


def _is_found(definition: Definition, module: str | None, qualname: str) -> bool:
    """Whether a loaded module has this very task under this name."""
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return isinstance(found, Task) and found.definition is definition


def _task_in(module: str, qualname: str) -> Any:
    """The task that a module has under this name."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _task_named(app: str, name: str, module: str, options: CallOptions, of_main: bool = False) -> Task[..., Any]:
    """The task that an app of this process knows by this name, with these options of its calls.

    Args:
        of_main: if the main script was also imported by its name, so that there are two tasks: that of ``__main__``.

    Raises:
        SerializationError: no app of this process knows the task, even once the module of its function is imported.
    """
    for imported in (False, True):
        if imported:
            with contextlib.suppress(ImportError, ValueError):
                importlib.import_module(module)
        known = [(its, at) for at in list(apps_here) if at.name == app and (its := at.registry.get(name)) is not None]
        if known:
            found = min(known, key=lambda each: (getattr(each[0].function, "__module__", None) in MAINS) != of_main)
            task = task_of(*found)
            return task.options(**options) if options else task
    raise SerializationError(
        f'The task "{name}" of app "{app}" is not registered in this process. Import the module that registers it.'
    )


def task_of(definition: Definition, app: Sender) -> Task[..., Any]:
    """The task of this definition."""
    function = definition.function
    if definition.stream is not None:
        return cast("Task[..., Any]", definition.stream(definition, app))
    if definition.batch is not None:
        return cast("Task[..., Any]", definition.batch.make(definition, app))
    if type(function) is FunctionType and not vars(function):
        return (AsyncTask if definition.is_async else SyncTask)(definition, app)
    return (_AsyncTaskWithHints if definition.is_async else _SyncTaskWithHints)(definition, app)


def consistent(task: Definition) -> Definition:
    """The definition itself; ConfigError if its options contradict each other."""
    delay = task.delay if task.eta is None else 0.0
    expires = task.more.get("expires")
    check_together(task.name, acks=task.acks, retries=task.retries, delay=delay, expires=expires)
    check_unique(task.name, task.more, task.key is not None or "key" in task.explicit, task.id is not None, delay)
    return task
