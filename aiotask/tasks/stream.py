"""Tasks whose functions are generators: a call gives a stream of items instead of one value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, Unpack

from ..brokers import require
from ..brokers.technology import STREAMS
from ..results.stream import Stream
from .options import CallOptions
from .task import Definition, Task

__all__ = ["AsyncStreamTask", "StreamTask", "SyncStreamTask"]

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:

    class StreamTask(Generic[P, T]):
        """What type checkers see of a task that is a generator: it is no Task, since it cannot be a node of a graph."""

        definition: Definition

        def __init__(self, definition: Definition, app: Any) -> None: ...
        @property
        def name(self) -> str: ...
        @property
        def func(self) -> Callable[..., Any]: ...
        def apply_async(self, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]: ...
        def options(self, /, **options: Unpack[CallOptions]) -> Self: ...
        def result(self, id: str, /) -> Stream[T]: ...

else:

    class StreamTask(Task[P, Any], Generic[P, T]):
        """A task whose function is a generator. ``apply_async`` returns a Stream of its items."""

        #: The class of the handles on its jobs.
        HANDLE = Stream

        def apply_async(self, /, *args, **kwargs):
            """Send the call, as ``Task.apply_async`` does; iterate the result, or await it for the list of items."""
            require(self._app.client.url, STREAMS, "A task that is a generator")
            return self._app.send(self.definition, args, kwargs)

        def s(self, /, *args: Any, **kwargs: Any) -> NoReturn:
            """Refuse to be a node of a graph."""
            self.refuse_graphs(self.name)

        @staticmethod
        def refuse_graphs(name: str) -> NoReturn:
            """Raise the TypeError of a generator that was to be a node of a graph."""
            raise TypeError(
                f'"{name}" is a generator: its calls can neither take the future value of another call nor be one. '
                "Write a task that returns the list, or send the call with apply_async() and plain arguments."
            )

        def map(self, items: Any, /, *, chunk: Any = None) -> NoReturn:
            """Refuse to be a member of a group."""
            self.s()


class AsyncStreamTask(StreamTask[P, T]):
    """A task whose function is an async generator: calling the task returns the generator."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        self.definition.refuse_gaps(args, kwargs)
        items: AsyncIterator[T] = self.definition.function(*args, **kwargs)
        return items


class SyncStreamTask(StreamTask[P, T]):
    """A task whose function is a generator: calling the task returns the generator."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        self.definition.refuse_gaps(args, kwargs)
        items: Iterator[T] = self.definition.function(*args, **kwargs)
        return items
