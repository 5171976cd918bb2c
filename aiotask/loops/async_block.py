"""``contextlib.asynccontextmanager`` for blocks in which users' exceptions are raised."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

__all__ = ["async_block"]

P = ParamSpec("P")
T = TypeVar("T")


class _Block(AbstractAsyncContextManager[T], Generic[T]):
    def __init__(self, steps: AsyncIterator[T]) -> None:
        self._steps = steps

    async def __aenter__(self) -> T:
        return await anext(self._steps)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await anext(self._steps)
        except StopAsyncIteration:
            return
        finally:
            if isinstance(self._steps, AsyncGenerator):
                await self._steps.aclose()


def async_block(function: Callable[P, AsyncIterator[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Decorator that makes an ``async with`` block of a generator that yields once.

    An exception of the block is not thrown into the generator, which goes on after its ``yield`` in any case:
    ``contextlib`` would set attributes of the exception, and raise another one where its class refuses that.
    """

    @functools.wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _Block(function(*args, **kwargs))

    return made
