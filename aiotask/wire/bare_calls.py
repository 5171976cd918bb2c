"""Calls that were passed to a task as they are, where their future value was meant."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import SerializationError

__all__ = ["MARK", "is_bare_call", "refuse_bare_calls"]

#: Stands in every pickle that holds a call, since pickle names the module of its class.
MARK = b"aiotask.signature"

_HINT = (
    "Pass its .cast for the value that it will have. A task that is to send the call itself says so: its parameter is "
    "annotated as Signature."
)
#: In an annotation that admits a call.
_ADMITS = re.compile(r"\b(Signature|Group)\b")


def refuse_bare_calls(call: tuple[tuple[Any, ...], dict[str, Any]], function: Callable[..., Any] | None) -> None:
    """Refuse a call that has another one among its arguments, also inside lists, tuples, sets, dicts and dataclasses.

    Raises:
        SerializationError: an argument is a Signature or holds one, and no annotation admits it.
    """
    for name, value, annotation in _arguments(call, function):
        found = None if _admits(annotation) else _bare_call_in(value)
        if found is not None:
            what = "is" if found is value else f"({type(value).__qualname__}) holds"
            raise SerializationError(
                f'argument "{name}" {what} the call {found.id} of "{found.task}", which has not run. {_HINT}'
            )


def is_bare_call(value: Any) -> bool:
    """Whether this is a Signature; its class is defined on a floor above this one."""
    return any(each.__module__ == "aiotask.signature" and each.__name__ == "Signature" for each in type(value).__mro__)


def _arguments(
    call: tuple[tuple[Any, ...], dict[str, Any]], function: Callable[..., Any] | None
) -> Iterator[tuple[str, Any, Any]]:
    """The name, the value and the annotation of each argument."""
    args, kwargs = call
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
        bound = signature.bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):  # a task by name, or a builtin
        bound = {f"#{n + 1}": value for n, value in enumerate(args)} | kwargs
        signature = inspect.Signature()
    hints = _hints(function)
    for name, value in bound.items():
        parameter = signature.parameters.get(name)
        yield name, value, hints.get(name, None if parameter is None else parameter.annotation)


def _hints(function: Callable[..., Any] | None) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that is not defined, or something without annotations
        return {}


def _admits(annotation: Any) -> bool:
    """Whether a parameter or a field with this annotation may be a call."""
    return _ADMITS.search(annotation if isinstance(annotation, str) else repr(annotation)) is not None


def _bare_call_in(value: Any) -> Any:
    """The first call in a value, at any depth; None: there is none."""
    todo, seen = [value], set[int]()
    while todo:
        each = todo.pop()
        if is_bare_call(each):
            return each
        if id(each) not in seen:
            seen.add(id(each))
            todo += reversed(list(_held(each)))
    return None


def _held(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, each.name, None) for each in dataclasses.fields(value) if not _admits(each.type))
