"""Exceptions as JSON: built-in ones and aiotask's own, by name and with plain arguments; nothing is imported."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pydantic_core

from ...errors import SerializationError
from .adapter import to_json
from .sameness import same_plain

__all__ = ["read_failure", "write_failure"]

#: Attributes that are set after the object was made from its arguments, if its class has them.
_BESIDE = ("name", "path")


def write_failure(error: BaseException) -> bytes | None:
    """``[module, class, args]`` or ``[module, class, args, more]``; None if the error would not come back unchanged.

    ``more`` says which arguments are tuples or bytes, by their path, and further attributes. The previous release
    takes an error with ``more`` for one that cannot be sent as itself.
    """
    kind = type(error)
    if _exception_class(kind.__module__, kind.__qualname__) is not kind:
        return None
    try:
        given = error.__reduce__()[1] if isinstance(error, OSError) else error.args
        assert isinstance(given, tuple)
        more: dict[str, Any] = {}
        parts: list[Any] = [kind.__module__, kind.__qualname__, [_plain(arg, [n], more) for n, arg in enumerate(given)]]
        beside = _beside(error)
        if beside:
            more["beside"] = beside
        text = to_json([*parts, more] if more else parts)
        back = read_failure(pydantic_core.from_json(text))
        return text if _is_same(error, back) else None
    except BaseException:  # even a SystemExit of an argument's code must not end the process
        return None


def read_failure(parts: Any) -> BaseException:
    """The exception that was written.

    Raises:
        SerializationError: its class is not one that may be made.
    """
    module, name, args, *rest = parts
    found = _exception_class(module, name)
    if found is None:
        raise SerializationError(f'"{module}.{name}" is not an exception that may be built from JSON.')
    more = rest[0] if rest else {}
    for path in more.get("bytes", ()):
        _change(args, path, base64.b64decode)
    for path in more.get("tuples", ()):  # inner tuples first
        _change(args, path, tuple)
    error = found(*args)
    for key, value in more.get("beside", {}).items():
        if key in _BESIDE:
            setattr(error, key, value)
        else:
            error.__dict__[key] = value
    return error


def _plain(value: Any, path: list[Any], more: dict[str, Any]) -> Any:
    if type(value) is bytes:
        more.setdefault("bytes", []).append(path)
        return base64.b64encode(value).decode()
    if type(value) is list:
        return [_plain(each, [*path, n], more) for n, each in enumerate(value)]
    if type(value) is tuple:
        items = [_plain(each, [*path, n], more) for n, each in enumerate(value)]
        more.setdefault("tuples", []).append(path)
        return items
    if type(value) is dict:
        return {key: _plain(each, [*path, key], more) for key, each in value.items()}
    return value


def _change(args: Any, path: list[Any], make: Any) -> None:
    *way, last = path
    for step in way:
        args = args[step]
    args[last] = make(args[last])


def _beside(error: BaseException) -> dict[str, Any]:
    """The attributes of an exception that are plain data: its notes, and those that the task has set."""
    found = {key: value for key, value in error.__dict__.items() if _is_plain(value)}
    if isinstance(error, ImportError | NameError | AttributeError):
        found |= {key: value for key in _BESIDE if type(value := getattr(error, key, None)) is str}
    return found


def _is_plain(value: Any) -> bool:
    try:
        return same_plain(value, pydantic_core.from_json(to_json(value)))
    except Exception:
        return False


def _is_same(error: BaseException, back: BaseException) -> bool:
    return type(back) is type(error) and same_plain(error.args, back.args) and str(back) == str(error)


def _exception_class(module: str, name: str) -> type[BaseException] | None:
    """A built-in exception or one of aiotask's, by name; nothing is imported."""
    if module not in ("builtins", "aiotask.errors"):
        return None
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
