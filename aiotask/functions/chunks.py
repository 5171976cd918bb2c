"""The function of a chunk: it takes a list of items and calls the function of a task for each."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["of_items"]


@lru_cache(maxsize=1024)
def of_items(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a chunk of calls of a task's function, for serializers: they read the module and the annotations,
    a list of items and a list of values."""

    def chunk(items: list[Any]) -> list[Any]:
        return [function(item) for item in items]

    chunk.__module__ = function.__module__
    chunk.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
    item, value = _types(function)
    chunk.__annotations__ = {"items": list[item], "return": list[value]}  # type: ignore[valid-type]
    return chunk


def _types(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The annotations of the first parameter and of the return value."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        first = next(iter(inspect.signature(function).parameters), "")
    except Exception:  # a callable without a signature, or with names that are not defined
        return Any, Any
    return hints.get(first, Any), hints.get("return", Any)
