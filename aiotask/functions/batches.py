"""The function of one item of a batch task, whose own function takes a list of items."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

from ..errors import ConfigError
from .callables import gives_coroutines
from .injected import callers_signature

__all__ = ["Batching", "of_one"]


class Batching(NamedTuple):
    """How calls of a batch task are gathered.

    Attributes:
        size: items of one call at most.
        wait: seconds that the first item waits for others.
        function: takes a list of items.
        make: makes the task of a definition and an app.
    """

    size: int
    wait: float
    function: Callable[..., Any]
    make: Callable[[Any, Any], Any]


def of_one(function: Callable[..., Any], what: str, *, typed: bool) -> Callable[..., Any]:
    """What senders and serializers take for the function of a batch task: it takes an item and returns its value.

    Args:
        what: the task, for errors.
        typed: the annotations are needed.

    Raises:
        ConfigError: the function does not take one list, or an annotation that is needed is not defined yet.
    """
    name = _parameter(function, what)
    try:
        item, value = _types(function, name, what)
    except NameError as error:
        if typed:
            raise ConfigError(
                f'{what}: its annotations name "{error.name}", which is not defined yet. Define it above the task.'
            ) from None
        item = value = Any
    one = _awaiting(function) if gives_coroutines(function) else _calling(function)
    with contextlib.suppress(AttributeError):
        functools.update_wrapper(one, function, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    one.__wrapped__ = function  # type: ignore[attr-defined]
    one.__annotations__ = {name: item, "return": value}
    parameter = inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, annotation=item)
    one.__signature__ = inspect.Signature([parameter], return_annotation=value)  # type: ignore[attr-defined]
    return one


def _calling(function: Callable[..., Any]) -> Callable[..., Any]:
    def one(item: Any, /, **provided: Any) -> Any:
        return _only(function([item], **provided))

    return one


def _awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    async def one(item: Any, /, **provided: Any) -> Any:
        return _only(await function([item], **provided))

    return one


def _only(values: Sequence[Any]) -> Any:
    [value] = values
    if isinstance(value, Exception):
        raise value
    return value


def _parameter(function: Callable[..., Any], what: str) -> str:
    """The name of the one parameter."""
    try:
        parameters = list(callers_signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return "items"
    first = parameters[0] if parameters else None
    others = [each.name for each in parameters[1:] if each.default is each.empty and _is_named(each)]
    if first is None or first.kind is first.KEYWORD_ONLY or others:
        takes = ", ".join(each.name for each in parameters) or "nothing"
        raise ConfigError(
            f"{what}: with batch= its function takes one argument, a list of items, and this one takes {takes}. Put "
            "what belongs to one item into the item (a tuple, say), and take what they share from the worker (Depends)."
        )
    return first.name if _is_named(first) else "items"


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _types(function: Callable[..., Any], name: str, what: str) -> tuple[Any, Any]:
    """The annotations of an item and of its value."""
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), localns=_enclosed(function), include_extras=True)
    except NameError:
        raise
    except Exception:  # a callable without annotations
        return Any, Any
    items, values = hints.get(name, Any), hints.get("return", Any)
    kind = typing.get_origin(items) or items
    if isinstance(kind, type) and not issubclass(list, kind):
        raise ConfigError(
            f'{what}: with batch= its function takes a list of items, and "{name}" is annotated with '
            f"{getattr(items, '__qualname__', items)}. Annotate it with list[…]."
        )
    return _inner(items), _without_errors(_inner(values))


def _enclosed(function: Callable[..., Any]) -> dict[str, Any] | None:
    """The variables of an enclosing function that the function uses."""
    inner = inspect.unwrap(function)
    found = {}
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(inner, "__closure__", None) or (), strict=True):
        with contextlib.suppress(ValueError):  # it has no value yet
            found[name] = cell.cell_contents
    return found or None


def _inner(hint: Any) -> Any:
    """The element of a list or of another sequence."""
    arguments = typing.get_args(hint)
    return arguments[0] if len(arguments) == 1 or arguments[1:] == (Ellipsis,) else Any


def _without_errors(hint: Any) -> Any:
    """The type without the exceptions in it, which stand for the errors of items."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return Any if _is_error(hint) else hint
    kept = tuple(each for each in typing.get_args(hint) if not _is_error(each))
    return Union[kept] if kept else Any  # noqa: UP007 - the members are known at run time only


def _is_error(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Exception)
