"""How functions become tasks of an app, with their types: ``@app.task`` and ``app.register_task``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeVar, Unpack, overload

from ..tasks.batch import BatchTask
from ..tasks.options import BatchOptions, TaskOptions, known_options
from ..tasks.task import AsyncTask, SyncTask, Task

__all__ = ["Registering"]

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


if TYPE_CHECKING:
    from ..tasks.stream import AsyncStreamTask, SyncStreamTask

    class _Anything(list["_Anything"]):
        """A type that matches only type variables, alone or in a list or another sequence.

        mypy would take the function of a generic task for one that returns ``NoReturn``, the type that every type
        variable may stand for, and each argument for an error.
        """


class _Register(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[_Anything, P], _Anything], /) -> SyncTask[Concatenate[Any, P], Any]: ...
    @overload
    def __call__(self, fn: Callable[P, NoReturn], /) -> SyncTask[P, Any]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, Iterator[T]], /) -> SyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class _RegisterBatch(Protocol):
    @overload
    def __call__(
        self, fn: Callable[Concatenate[list[A], ...], Coroutine[Any, Any, Sequence[R | Exception]]], /
    ) -> BatchTask[A, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[list[A], ...], Sequence[R | Exception]], /) -> BatchTask[A, R]: ...


class Registering(ABC):
    """The part of an app that registers functions as tasks."""

    name: str

    @abstractmethod
    def _register(self, function: Callable[..., Any], options: Any) -> Task[..., Any]:
        """Register a function with these options in the app, and return its task."""

    @overload
    def task(self, fn: Callable[Concatenate[_Anything, P], _Anything], /) -> SyncTask[Concatenate[Any, P], Any]: ...
    @overload
    def task(self, fn: Callable[P, NoReturn], /) -> SyncTask[P, Any]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, AsyncIterator[T]], /) -> AsyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, Iterator[T]], /) -> SyncStreamTask[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, Awaitable[R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self, /, *, batch: int, batch_wait: float | timedelta = ..., **options: Unpack[TaskOptions]
    ) -> _RegisterBatch: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> _Register: ...
    def task(self, fn: Any = None, /, **options: Any) -> Any:
        """Decorator that registers a function as a task: ``@app.task`` or ``@app.task(retries=3)`` (see TaskOptions).

        With ``batch=`` the function takes a list of items, each of which was sent as a job (see BatchOptions).

        Raises:
            ConfigError: an option does not exist or is out of range, the name of the task is taken, or the decorated
                object cannot be a task.
        """
        if fn is None:
            known_options(options, BatchOptions, f'a task of app "{self.name}"')
            return lambda function: self._register(function, options)
        return self._register(fn, options)

    @overload
    def register_task(
        self,
        fn: Callable[Concatenate[list[A], ...], Coroutine[Any, Any, Sequence[R | Exception]]],
        /,
        *,
        batch: int,
        batch_wait: float | timedelta = ...,
        **options: Unpack[TaskOptions],
    ) -> BatchTask[A, R]: ...
    @overload
    def register_task(
        self,
        fn: Callable[Concatenate[list[A], ...], Sequence[R | Exception]],
        /,
        *,
        batch: int,
        batch_wait: float | timedelta = ...,
        **options: Unpack[TaskOptions],
    ) -> BatchTask[A, R]: ...
    @overload
    def register_task(
        self, fn: Callable[Concatenate[_Anything, P], _Anything], /, **options: Unpack[TaskOptions]
    ) -> SyncTask[Concatenate[Any, P], Any]: ...
    @overload
    def register_task(self, fn: Callable[P, NoReturn], /, **options: Unpack[TaskOptions]) -> SyncTask[P, Any]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def register_task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...
    @overload
    def register_task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, AsyncIterator[T]], /, **options: Unpack[TaskOptions]
    ) -> AsyncStreamTask[P, T]: ...
    @overload
    def register_task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Iterator[T]], /, **options: Unpack[TaskOptions]
    ) -> SyncStreamTask[P, T]: ...
    @overload
    def register_task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Awaitable[R]], /, **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...
    @overload
    def register_task(self, fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> SyncTask[P, R]: ...
    @overload
    def register_task(
        self, /, *, batch: int, batch_wait: float | timedelta = ..., **options: Unpack[TaskOptions]
    ) -> _RegisterBatch: ...
    @overload
    def register_task(self, /, **options: Unpack[TaskOptions]) -> _Register: ...
    def register_task(self, fn: Any = None, /, **options: Any) -> Any:
        """Register a function as a task with a call instead of a decorator: ``app.register_task(function, name=…)``.

        Raises:
            ConfigError: as ``task``.
        """
        return self.task(**options) if fn is None else self._register(fn, options)
