"""Runs the function of a task with all that stands around it: middleware, and the values of its providers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..context import JobContext, entered
from ..depends import Injection
from ..errors import ConfigError
from ..functions.callables import gives_coroutines
from ..functions.injected import Provider
from ..middleware import Around
from .exits import AsyncExits, Exits, enter, is_for_a_loop, open_in_loop
from .loop_side import LoopSide
from .run import Run
from .scope import Scope

__all__ = ["AsyncProviders", "perform_async", "perform_sync"]


def perform_sync(
    run: Run, around: Around, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call the function of a sync task, or what calls it, in this thread.

    Raises:
        BaseException: what the function, the middleware or a provider has raised.
    """
    exits = Exits()
    try:
        for hook in around.execute:
            _enter_hook(hook, entered.get(), exits)
        if around.injection is not None:
            kwargs = {**kwargs, **_SyncProviders(run, around.injection, exits).values()}
        value = function(*args, **kwargs)
        if (failure := exits.close(None)) is not None:
            raise failure
        return value
    except BaseException as error:
        # An interrupt may come anywhere above, also between two closes.
        ended = exits.close(error) or error
    try:
        raise ended
    finally:
        del ended  # which refers to this frame


async def perform_async(
    run: Run, around: Around, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call the function of an async task, or what calls it, in this asyncio task.

    Raises:
        BaseException: as ``perform_sync``.
    """
    exits = AsyncExits()
    try:
        for hook in around.execute:
            await _enter_async_hook(hook, entered.get(), exits)
        if around.injection is not None:
            assert run.owner is not None
            kwargs = {**kwargs, **await AsyncProviders(around.injection, run.owner.scope, exits).values()}
        value = await function(*args, **kwargs)
        if (failure := await exits.close(None)) is not None:
            raise failure
        return value
    except BaseException as error:
        ended = await exits.close(error) or error
    try:
        raise ended
    finally:
        del ended  # which refers to this frame


def _enter_hook(hook: Callable[[JobContext], Any], job: JobContext, exits: Exits) -> None:
    manager = hook(job)
    _check_manager(hook, manager)
    enter(manager, exits.push)


def _check_manager(hook: Callable[[JobContext], Any], manager: Any) -> None:
    if not hasattr(type(manager), "__enter__"):
        what = "is async, and the task is sync" if hasattr(type(manager), "__aenter__") else "is no context manager"
        raise ConfigError(f"{getattr(hook, '__qualname__', repr(hook))} returned {manager!r}, which {what}.")


async def _enter_async_hook(hook: Callable[[JobContext], Any], job: JobContext, exits: AsyncExits) -> None:
    manager = hook(job)
    if not hasattr(type(manager), "__aenter__"):
        _check_manager(hook, manager)
    await open_in_loop(manager, exits)


def _needs_loop(provider: Provider) -> bool:
    """Whether the provider itself has to be called in an event loop."""
    inner = inspect.unwrap(provider)
    if isinstance(inner, type):
        return hasattr(inner, "__aenter__")
    return gives_coroutines(inner) or inspect.isasyncgenfunction(inner)


class _SyncProviders:
    """The providers of one sync run: sync ones are opened in its thread, async ones in the worker's event loop.

    Both are entered and left in one order: what the loop opens is closed from the thread, too.
    """

    def __init__(self, run: Run, injection: Injection, exits: Exits) -> None:
        self._run = run
        self._injection = injection
        assert run.owner is not None
        self._scope: Scope = run.owner.scope
        self._exits = exits
        self._opened: dict[Provider, Any] = {}
        self._loop_side: LoopSide | None = None

    def values(self) -> dict[str, Any]:
        """The arguments that the worker provides, by name."""
        return {name: self._value(provider) for name, provider in self._injection.parameters.items()}

    def _value(self, provider: Provider) -> Any:
        found, value = _known(provider, self._injection, self._scope, self._opened)
        if not found:
            inner = self._injection.needs[provider]
            arguments = {name: self._value(each) for name, each in inner.items()}
            value = self._opened[provider] = self._open(provider, arguments)
        return value

    def _open(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        if _needs_loop(provider):
            return self._open_in_loop(lambda: provider(**arguments))
        made = provider(**arguments)
        return self._open_in_loop(lambda: made) if is_for_a_loop(made) else enter(made, self._exits.push)

    def _open_in_loop(self, make: Callable[[], Any]) -> Any:
        if self._loop_side is None:
            assert self._scope.loop is not None
            self._loop_side = LoopSide(self._run, self._scope.loop)
            end = self._loop_side.end
            self._exits.push(lambda *error: end())
        side, exits = self._loop_side, AsyncExits()

        async def close(error: BaseException | None) -> None:
            ended = await exits.close(error)
            if ended is not None and ended is not error:
                raise ended

        def leave(kind: Any, error: BaseException | None, trace: Any) -> None:
            side.close(lambda: close(error))

        async def open_it() -> Any:
            return await open_in_loop(make(), exits)

        # Before it is opened: an interrupt may come between the two.
        self._exits.push(leave)
        return side.open(open_it)


class AsyncProviders:
    """The providers of one async run, or of a lifespan, opened in the current asyncio task."""

    def __init__(self, injection: Injection, scope: Scope, exits: AsyncExits) -> None:
        self._injection = injection
        self._scope = scope
        self._exits = exits
        self._opened: dict[Provider, Any] = {}

    async def values(self) -> dict[str, Any]:
        """The arguments that the worker provides, by name."""
        return {name: await self.value(provider) for name, provider in self._injection.parameters.items()}

    async def value(self, provider: Provider) -> Any:
        """The value of a provider, which is opened if it is not open."""
        found, value = _known(provider, self._injection, self._scope, self._opened)
        if not found:
            inner = self._injection.needs[provider]
            arguments = {name: await self.value(each) for name, each in inner.items()}
            value = self._opened[provider] = await open_in_loop(provider(**arguments), self._exits)
        return value


def _known(provider: Provider, injection: Injection, scope: Scope, opened: Mapping[Provider, Any]) -> tuple[bool, Any]:
    """Whether the value of a provider is known already, and the value."""
    if provider in injection.overrides:
        return True, injection.overrides[provider]
    for values in (opened, scope.values):
        if provider in values:
            return True, values[provider]
    return False, None
