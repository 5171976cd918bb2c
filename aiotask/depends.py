"""What a worker provides to tasks: ``Depends``, the providers of a task, and ``app.override``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, NamedTuple, TypeVar, overload

from .errors import ConfigError
from .functions.injected import Injected, Provider, injected_into, name_of, refuse_annotated

__all__ = ["Depends", "Injection", "Overrides", "Overriding", "injection_of", "lifespan_of"]

T = TypeVar("T")


@overload
def Depends(provider: Callable[..., AbstractAsyncContextManager[T]], /) -> T: ...
@overload
def Depends(provider: Callable[..., AbstractContextManager[T]], /) -> T: ...
@overload
def Depends(provider: Callable[..., AsyncIterator[T]], /) -> T: ...
@overload
def Depends(provider: Callable[..., Iterator[T]], /) -> T: ...
@overload
def Depends(provider: Callable[..., Awaitable[T]], /) -> T: ...
@overload
def Depends(provider: Callable[..., T], /) -> T: ...
def Depends(provider: Callable[..., Any], /) -> Any:
    """The default of a parameter whose value the worker provides: ``pool: Pool = Depends(open_pool)``.

    A provider is a function, a coroutine function, a generator function that yields once, sync or async, or a callable
    that returns a context manager. It may have parameters with ``Depends`` of their own. The worker opens it once per
    run of a job and closes it after the run; a provider in ``App(lifespan=…)`` is opened once per worker process.

    Raises:
        ConfigError: the argument is not callable, or not hashable.
    """
    if not callable(provider):
        raise ConfigError(f"Depends({provider!r}): give the function that makes the value, without calling it.")
    if getattr(provider, "__hash__", None) is None:
        raise ConfigError(f"Depends({provider!r}): its objects cannot be told apart (no hash). Give a function.")
    return Injected(provider)


class Overrides:
    """The providers of an app that a test has replaced for now; the latest replacement counts."""

    def __init__(self) -> None:
        self._all: list[tuple[Provider, Any]] = []

    def __contains__(self, provider: Provider) -> bool:
        return any(each[0] == provider for each in self._all)

    def __getitem__(self, provider: Provider) -> Any:
        return next(value for each, value in reversed(self._all) if each == provider)

    @contextlib.contextmanager
    def put(self, provider: Provider, value: Any) -> Iterator[None]:
        """In the block, the provider has this value."""
        entry = provider, value
        self._all = [*self._all, entry]
        try:
            yield
        finally:
            self._all = [each for each in self._all if each is not entry]


class Injection(NamedTuple):
    """The providers of one task, or of the lifespan of an app."""

    #: The providers of the parameters, by name.
    parameters: Mapping[str, Provider]
    #: For each provider that these need, and that those need in turn: the providers of its own parameters, by name.
    needs: Mapping[Provider, Mapping[str, Provider]]
    overrides: Overrides

    def refuse_gaps(self, task: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> None:
        """Refuse a call in this process without what only a worker provides.

        Raises:
            ConfigError: an argument is missing.
        """
        try:
            given = inspect.signature(function).bind_partial(*args, **kwargs).arguments
        except TypeError:
            return  # The call itself raises the error.
        for name, provider in self.parameters.items():
            if name not in given:
                raise ConfigError(
                    f'Task "{task}" was called in this process without "{name}", which only a worker provides '
                    f"({name_of(provider)}): pass it, as in {task.rpartition(':')[2]}(…, {name}=…)."
                )


def injection_of(function: Callable[..., Any], task: str, overrides: Overrides) -> Injection | None:
    """The injection of a task; None: it has no parameter with ``Depends``.

    Raises:
        ConfigError: providers need each other in a circle, one has a parameter without a value, or ``Depends`` stands
            where a worker cannot fill it in.
    """
    what = f'Task "{task}"'
    refuse_annotated(function, what)
    parameters = injected_into(function)
    return Injection(parameters, _needs(function, parameters, what), overrides) if parameters else None


def lifespan_of(providers: Sequence[Provider], overrides: Overrides) -> Injection:
    """The injection of ``App(lifespan=…)``; its parameters have numbers as names.

    Raises:
        ConfigError: an entry is not callable, or as in ``injection_of``.
    """
    if callable(providers):
        raise ConfigError(f"lifespan: give a list of providers, as in [{name_of(providers)}].")
    for provider in providers:
        if not callable(provider):
            raise ConfigError(f"lifespan: {provider!r} is not callable. Give the provider, without calling it.")
    parameters = {str(number): provider for number, provider in enumerate(providers)}
    return Injection(parameters, _needs(None, parameters, "lifespan"), overrides)


def _needs(
    function: Callable[..., Any] | None, parameters: Mapping[str, Provider], what: str
) -> dict[Provider, Mapping[str, Provider]]:
    """The parameters of all providers that are reached from here."""
    if function is not None:
        _refuse_positional_only(function, what)
    found: dict[Provider, Mapping[str, Provider]] = {}

    def visit(provider: Provider, path: tuple[Provider, ...]) -> None:
        if provider in path:
            circle = " -> ".join(name_of(each) for each in (*path[path.index(provider) :], provider))
            raise ConfigError(f"{what}: providers need each other in a circle: {circle}.")
        if provider not in found:
            _check(provider, what)
            inner = injected_into(provider)
            for each in inner.values():
                visit(each, (*path, provider))
            found[provider] = inner

    for provider in parameters.values():
        visit(provider, ())
    return found


def _check(provider: Provider, what: str) -> None:
    """Refuse a provider that a worker cannot call."""
    # The result of a @contextmanager function is callable, as a decorator.
    if isinstance(provider, contextlib.ContextDecorator | contextlib.AsyncContextDecorator):
        raise ConfigError(f"{what}: {provider!r} was called already. Give the provider, without calling it.")
    refuse_annotated(provider, what)
    _refuse_positional_only(provider, what)
    try:
        inspect.signature(provider).bind()
    except TypeError as error:
        raise ConfigError(
            f"{what}: the provider {name_of(provider)} has a parameter without a value ({error}). Give it a default, "
            "for example another Depends(…)."
        ) from None
    except ValueError:  # a builtin without a signature
        pass


def _refuse_positional_only(function: Callable[..., Any], what: str) -> None:
    with contextlib.suppress(TypeError, ValueError):
        for each in inspect.signature(function).parameters.values():
            if each.kind is each.POSITIONAL_ONLY and isinstance(each.default, Injected):
                raise ConfigError(f'{what}: "{each.name}" cannot be filled in, since it stands before "/".')


class Overriding:
    """The part of an app that replaces providers in tests."""

    overrides: Overrides

    @overload
    def override(
        self, provider: Callable[..., AbstractAsyncContextManager[T]], value: T, /
    ) -> AbstractContextManager[None]: ...
    @overload
    def override(
        self, provider: Callable[..., AbstractContextManager[T]], value: T, /
    ) -> AbstractContextManager[None]: ...
    @overload
    def override(self, provider: Callable[..., AsyncIterator[T]], value: T, /) -> AbstractContextManager[None]: ...
    @overload
    def override(self, provider: Callable[..., Iterator[T]], value: T, /) -> AbstractContextManager[None]: ...
    @overload
    def override(self, provider: Callable[..., Awaitable[T]], value: T, /) -> AbstractContextManager[None]: ...
    @overload
    def override(self, provider: Callable[..., T], value: T, /) -> AbstractContextManager[None]: ...
    def override(self, provider: Callable[..., Any], value: Any, /) -> AbstractContextManager[None]:
        """A ``with`` block in which jobs of this app that run in this process get this value, and the provider is not
        opened: for tests with ``async with app.worker()``.

        Raises:
            ConfigError: the provider is not callable.
        """
        if not callable(provider):
            raise ConfigError(f"override({provider!r}, …): give the provider that stands in Depends(…).")
        return self.overrides.put(provider, value)
