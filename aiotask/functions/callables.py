"""The arguments of callables of every kind, and whether they are coroutine functions."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

from ..errors import ConfigError
from .injected import callers_signature, injected_into

__all__ = [
    "checker",
    "gives_coroutines",
    "gives_items",
    "is_async_generator",
    "parameter_names",
    "refuse_what_is_no_function",
    "what_runs",
]


def gives_coroutines(function: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine: of a function, a partial, an object with ``__call__``, a marked callable."""
    inner = _below_partials(function)
    # asyncio's own mark, which Python 3.14 has removed.
    mark = getattr(asyncio.coroutines, "_is_coroutine", None)
    return (
        inspect.iscoroutinefunction(inner)
        or inspect.iscoroutinefunction(what_runs(inner))
        or _is_awaitable_generator(what_runs(inner))
        or (mark is not None and getattr(inner, "_is_coroutine", None) is mark)
    )


def gives_items(function: Callable[..., Any]) -> bool:
    """Whether a call returns a generator, sync or async."""
    called = what_runs(function)
    is_generator = inspect.isgeneratorfunction(called) and not _is_awaitable_generator(called)
    return is_generator or inspect.isasyncgenfunction(called)


def _is_awaitable_generator(function: Any) -> bool:
    """Whether this is a generator function under ``types.coroutine``: what it yields is for the event loop."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)


def is_async_generator(function: Callable[..., Any]) -> bool:
    """Whether a call returns an async generator."""
    return inspect.isasyncgenfunction(what_runs(function))


def what_runs(function: Any) -> Any:
    """The function that a call runs: that of a partial, or the ``__call__`` of an object."""
    inner = _below_partials(function)
    return inner if inspect.isroutine(inner) or isinstance(inner, type) else type(inner).__call__


def _below_partials(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def checker(function: Callable[..., Any]) -> Callable[..., None]:
    """A function that raises TypeError for arguments that a callable does not take.

    A decorator may take more or fewer arguments than the function inside it, so a call has to fit one of the two.
    What a worker fills in is no argument of a call; then a decorator, which may take any, is not asked.
    """
    inner = _same_arguments(function)
    if injected := injected_into(function):
        return _without(injected, inner)
    if not hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):
        return inner
    outer = _same_arguments(function, follow_wrapped=False)

    def check(*args: Any, **kwargs: Any) -> None:
        try:
            inner(*args, **kwargs)
        except TypeError:
            outer(*args, **kwargs)

    return check


def _without(injected: Iterable[str], inner: Callable[..., None]) -> Callable[..., None]:
    names = frozenset(injected)

    def check(*args: Any, **kwargs: Any) -> None:
        for name in names & kwargs.keys():
            raise TypeError(f'"{name}" is provided by the worker (Depends) and is not sent: leave it out')
        inner(*args, **kwargs)

    return check


def _same_arguments(function: Callable[..., Any], *, follow_wrapped: bool = True) -> Callable[..., None]:
    """A function that takes the same arguments and does nothing: Python itself checks a call, in 100 ns."""
    try:
        parameters = callers_signature(function, follow_wrapped=follow_wrapped).parameters.values()
    except (TypeError, ValueError):
        if not follow_wrapped:
            # A wrapper written in C, such as functools.lru_cache, passes its arguments on.
            return _same_arguments(function)
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


def refuse_what_is_no_function(function: Any, *, is_named: bool) -> None:
    """Refuse an object that cannot be a task.

    Args:
        is_named: the user gives the task a name.

    Raises:
        ConfigError: a worker could not call the object.
    """
    if isinstance(function, staticmethod):
        raise ConfigError(_NO_STATIC_METHODS.format(getattr(function, "__qualname__", function)))
    if isinstance(function, classmethod) or inspect.ismethod(function):
        raise ConfigError(_NO_METHODS.format(getattr(function, "__qualname__", function)))
    if not callable(function):
        raise ConfigError(f"{function!r} is not callable. Write @app.task or @app.task(option=…) above a function.")
    if isinstance(function, type):
        raise ConfigError(f'"{function.__qualname__}" is a class; a task is a function. Wrap the call in one.')
    qualname = getattr(function, "__qualname__", None)
    if qualname is None and not is_named:
        raise ConfigError(f'{function!r} has no name. Give it one: app.register_task(fn, name="…").')
    # The qualified name of what a function or a comprehension makes contains "<locals>" or "<listcomp>".
    if qualname is not None and "." in qualname and not qualname.rpartition(".")[0].endswith(">"):
        first = next(iter(parameter_names(function)), "")
        raise ConfigError((_NO_METHODS if first in ("self", "cls") else _NO_STATIC_METHODS).format(qualname))


_NO_METHODS = (
    '"{}" is a method, and a worker would have no object to call it on. '
    "Make it a function that takes the data as arguments, or an ID by which it loads the object."
)
_NO_STATIC_METHODS = (
    '"{}" is defined inside a class, and a task is a function of a module: workers find it by module and name. '
    "Move it out of the class; a static method may call it."
)
