"""The JSON serializer: what a body holds after its format byte.

=======  =======================================================================================
call     ``[[positional], {by name}]``; from a sender that has no function, with what JSON has no
         type for: ``[[positional], {by name}, [[path, class], …]]``
value    the value
         (calls and values with Refs: see ``future.py``)
error    ``[module, class, args]``, and where that is not all of it ``[module, class, args, more]``
=======  =======================================================================================
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pydantic
import pydantic_core

from ...errors import ConfigError, SerializationError
from ...ref import found_here
from .adapter import to_json
from .failure import read_failure, write_failure
from .function import JsonFunction, Unresolved, imported_for_types_only
from .future import read_call, read_value, refuse_refs, write_call, write_value
from .named import check_arrival, write_named

__all__ = ["JsonSerializer"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
Function = Callable[..., Any] | None

#: Decodes a call into its arguments, which are still JSON.
_pieces = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]])


class JsonSerializer:
    """JSON that pydantic validates against the task's annotations; reading it never executes code of the message."""

    name = "json"

    def __init__(self) -> None:
        if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11):
            raise ConfigError(
                f'serializer="json" needs pydantic 2.11 or newer, and {pydantic.VERSION} is installed: '
                "pip install 'aiotask[json]'."
            )
        # By id(): a callable object need not be hashable.
        self._known: dict[int, tuple[Any, JsonFunction]] = {}

    def _function(self, function: Callable[..., Any]) -> JsonFunction:
        known = self._known.get(id(function))
        if known is None:
            key = id(function)
            seen = JsonFunction(function)
            try:
                kept: Any = weakref.ref(function, lambda _: self._known.pop(key, None))
            except TypeError:  # the function takes no weak references, so it is kept alive
                kept = function
            known = self._known[key] = (kept, seen)
        return known[1]

    def prepare(self, task: str, function: Callable[..., Any], *, last_chance: bool = False) -> None:
        """Check the annotations of a function that becomes a task.

        Args:
            task: the name of the task, for the error.
            function: the function of the task.
            last_chance: refuse an undefined name; otherwise it may still be defined further down in the module.

        Raises:
            ConfigError: the annotations cannot be used with JSON.
        """
        try:
            self._function(function)
        except Unresolved as error:
            if last_chance or imported_for_types_only(function, error.name):
                raise ConfigError(f'Task "{task}": {error}') from error
        except ConfigError as error:
            raise ConfigError(f'Task "{task}": {error}') from error

    # ---- calls

    def dump_call(self, call: Call, function: Function) -> bytes:
        args, kwargs = call
        seen = None if function is None else self._function(function)
        if (found := found_here()) is not None and (text := write_call(seen, args, kwargs, found)):
            return b"J" + text
        try:
            return b"J" + (write_named(args, kwargs) if seen is None else seen.encode_call(args, kwargs))
        except SerializationError as error:
            refuse_refs(error, args, kwargs)
            raise

    def load_call(self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()) -> Call:
        text = _text_of(body)
        if upstream:
            return read_call(None if function is None else self._function(function), text, upstream)
        if function is None:
            args, kwargs, *_ = _read(text)
            return tuple(args), dict(kwargs)
        seen = self._function(function)
        try:
            pieces, named = _pieces.decode(text)
        except msgspec.DecodeError:  # NaN or Infinity, which strict JSON does not have, or a call by name
            args, kwargs, *marks = _read(text)
            call = seen.decode_call([to_json(each) for each in args], {key: to_json(kwargs[key]) for key in kwargs})
            for mark in marks:
                check_arrival(seen, call, mark)
            return call
        return seen.decode_call([bytes(each) for each in pieces], {key: bytes(named[key]) for key in named})

    # ---- values

    def dump_value(self, value: Any, function: Function) -> bytes:
        seen = None if function is None else self._function(function)
        if (found := found_here()) is not None and (text := write_value(seen, value, found)):
            return b"J" + text
        try:
            return b"J" + (to_json(value) if seen is None else seen.encode_value(value))
        except Exception as error:
            refuse_refs(error, value)
            raise

    def load_value(self, body: bytes, function: Function, upstream: Sequence[bytes | BaseException] = ()) -> Any:
        text = _text_of(body)
        if upstream:
            return read_value(None if function is None else self._function(function), text, upstream)
        return _read(text) if function is None else self._function(function).decode_value(text)

    # ---- errors

    def dump_error(self, error: BaseException) -> bytes | None:
        """The JSON of a built-in exception or one of aiotask, by name and with plain arguments.

        None for any other, and for one that would be read with another text or other arguments.
        """
        text = write_failure(error)
        return None if text is None else b"J" + text

    def load_error(self, body: bytes, function: Any = None) -> Any:
        return read_failure(_read(_text_of(body)))


def _text_of(body: bytes) -> bytes:
    if body[:1] != b"J":
        raise SerializationError(
            f"The body is of format {body[:1]!r}, but this app reads only JSON. "
            "Give App(serializer=…) the same value on both sides."
        )
    return body[1:]


def _read(text: bytes) -> Any:
    return pydantic_core.from_json(text)
