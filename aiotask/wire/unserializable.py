"""Errors that name the argument, or the object in a value, that cannot be serialized, and what to pass instead."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import io
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from ..errors import ConfigError, SerializationError
from .error_form import summary_of
from .pickler import by_value
from .serializer import Serializer

__all__ = ["blame_argument", "blame_state", "blame_value"]

_HINTS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((CoroutineType, asyncio.Future), "Await it first."),
    ((GeneratorType, AsyncGeneratorType), "Convert it to a list first."),
    ((concurrent.futures.Future,), "Call its result() first."),
)


def blame_argument(
    serializer: Serializer,
    task: str,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    function: Callable[..., Any] | None,
    error: Exception,
) -> SerializationError:
    """The error for a call that cannot be serialized, naming the argument that is at fault."""
    args, kwargs = call
    names = _parameters(function)
    named = [(names[n] if n < len(names) else f"#{n + 1}", value) for n, value in enumerate(args)]
    named += list(kwargs.items())
    if serializer.name == "json" and isinstance(error, SerializationError | ConfigError):
        # The error already names the argument, and the place in it.
        for _, value in named:
            found = _obstacle(value, in_json=True)
            if hint := _sure_hint(type(found), in_json=True):
                inner = "" if found is value else f" (it holds {_an(type(found).__qualname__)})"
                return SerializationError(f'Task "{task}": {str(error).rstrip(".")}{inner}. {hint.format(verb="Pass")}')
        return SerializationError(f'Task "{task}": {error}')
    for name, value in named:
        try:
            serializer.dump_value(value, None)
        except Exception as reason:
            return SerializationError(
                f'Task "{task}": argument "{name}" ({type(value).__qualname__}) cannot be serialized with '
                f"{serializer.name}{_reason(value, reason, 'Pass', in_json=serializer.name == 'json')}"
            )
    if isinstance(error, SerializationError):
        return SerializationError(f'Task "{task}": {error}')
    return SerializationError(
        f'Task "{task}": its arguments cannot be serialized with {serializer.name}: {summary_of(error)}.'
    )


def blame_value(serializer: Serializer, task: str, value: Any, error: Exception) -> SerializationError:
    """The error for a value that a task returned and that cannot be serialized."""
    return SerializationError(
        f'Task "{task}" returned {_an(type(value).__qualname__)} that cannot be serialized with '
        f"{serializer.name}{_reason(value, error, 'Return', in_json=serializer.name == 'json')}"
    )


def blame_state(serializer: Serializer, task: str, state: object, error: Exception) -> SerializationError:
    """The error for a checkpoint that cannot be serialized."""
    return SerializationError(
        f'Task "{task}": its checkpoint, {_an(type(state).__qualname__)}, cannot be serialized with '
        f"{serializer.name}{_reason(state, error, 'Save', in_json=serializer.name == 'json')}"
    )


def _parameters(function: Callable[..., Any] | None) -> list[str]:
    try:
        return [] if function is None else list(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # max and some other builtins have no signature
        return []


def _reason(value: Any, error: Exception, verb: str, *, in_json: bool) -> str:
    """Why a value cannot be serialized, as the end of a sentence, and a sentence on what to do."""
    found = _obstacle(value, in_json=in_json)
    hint = "" if found is None else _hint(found, verb, in_json=in_json)
    if not hint:
        return f": {summary_of(error)}. {verb} plain data, or what the receiver needs to create it (a path, an ID)."
    return f". {hint}" if found is value else f": it holds {_an(type(found).__qualname__)}. {hint}"


def _hint(found: Any, verb: str, *, in_json: bool) -> str:
    hint = _sure_hint(type(found), in_json=in_json)
    if hint:
        return hint.format(verb=verb)
    try:
        is_proxy = found.__class__ is not type(found)
    except Exception:
        is_proxy = True
    if not is_proxy:
        return ""
    way = ": proxy._get_current_object()" if hasattr(type(found), "_get_current_object") else ""
    return f"It is a proxy for another object. {verb} the object behind it{way}."


def _sure_hint(kind: type, *, in_json: bool) -> str:
    """What to do instead of serializing an object of a class that can never be serialized; some classes only pickle
    can write."""
    if instead := _of_ours(kind, "INSTEAD") or (_of_ours(kind, "INSTEAD_IN_JSON") if in_json else ""):
        return f"{instead}."
    return next((hint for kinds, hint in _HINTS if issubclass(kind, kinds)), "")


def _of_ours(kind: type, name: str) -> str:
    """The hint that a class of aiotask has under this name; empty for other classes."""
    hint = getattr(kind, name, "") if kind.__module__.startswith("aiotask.") else ""
    return str(hint)


class _Obstructed(Exception):
    """Ends a search at an object that can never be serialized, before an object that it refers to is blamed."""


def _obstacle(value: Any, *, in_json: bool = False) -> Any:
    """The object in a value, at any depth, that pickle cannot serialize, or JSON never can; None: there is none."""

    class Tracer(by_value()):  # type: ignore[misc]
        last: Any = None

        def reducer_override(self, value: Any) -> Any:
            self.last = value
            if _sure_hint(type(value), in_json=in_json):
                raise _Obstructed
            return super().reducer_override(value)

    with io.BytesIO() as file:
        tracer = Tracer(file, {})
        try:
            tracer.dump(value)
        except Exception:
            return tracer.last
    return None


def _an(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
