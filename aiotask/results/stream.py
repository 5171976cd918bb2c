"""The handle on the job of a generator task: it is iterated while the items come, and awaited for the list of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any, Protocol, TypeVar, cast

from ..errors import ConfigError
from .result import AsyncResult, Home, seconds_of

__all__ = ["Stream"]

T = TypeVar("T")


class _Home(Protocol):
    """The client of a stream, as far as the stream needs it."""

    def items(self, result: Stream[Any], after: int, *, cancels: bool) -> AsyncIterator[tuple[int, Any]]: ...
    async def all_items(self, result: Stream[Any], timeout: float | None) -> list[Any]: ...


class Stream(AsyncResult[list[T]]):
    """A handle on the job of a generator task.

    ``async for item in stream`` yields the items while the job makes them; awaiting the stream returns the list of all.
    One reader at a time: the job waits for it, about 256 items ahead at most. A job that ends with an error raises it
    here, after its last item.
    """

    __slots__ = ("kept",)

    #: All items, once they were awaited.
    kept: list[T] | None

    def __init__(self, id: str, home: Home, task: str = "", function: Any = None, queue: str = "") -> None:
        super().__init__(id, home, task, function, queue)
        self.kept = None

    @classmethod
    def of(cls, result: AsyncResult[Any]) -> Stream[Any]:
        """The stream of the job of another handle."""
        return cls(result.id, result._home, result.task, result.function)

    @property
    def _streams(self) -> _Home:
        return cast("_Home", self._home)

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.wait().__await__()

    async def wait(self, timeout: Any = None) -> list[T]:
        """Wait for the job and return the list of its items, as ``await stream`` does, but with a time limit.

        Raises:
            ResultExpired: another reader has read more than the last 1,000 items, which are kept.
            Exception: as ``AsyncResult.wait``.
        """
        return await self._streams.all_items(self, seconds_of(timeout))

    async def __aiter__(self) -> AsyncIterator[T]:
        # Not aiter(): when the loop is left early, closing this generator has to close the inner one at once.
        items = self._streams.items(self, 0, cancels=True)
        try:
            async for _, item in items:
                yield item
        finally:
            await cast("Any", items).aclose()

    def items(self, after: int = 0) -> AsyncIterator[tuple[int, T]]:
        """Yield number and item of each that follows item ``after``; numbers count from 1.

        Another process may go on where this one has stopped: the job waits 10 seconds for a reader, and is cancelled
        then. Leaving ``async for item in stream`` early cancels the job at once.

        Raises:
            ConfigError: ``after`` is not a number of an item: a whole number from 0.
            ResultExpired: the next item is no longer kept.
        """
        if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after < 2**53:
            raise ConfigError(
                f"after={after!r} is not the number of an item. Give the whole number of the last item that the "
                "reader has; 0 reads from the first one."
            )
        return self._streams.items(self, after, cancels=False)

    async def aclose(self) -> None:
        """Say that no more items are wanted: the job is cancelled, unless it has ended."""
        await self.cancel()
