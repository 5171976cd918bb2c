"""JSON bodies: written and read with pydantic, by the annotations of the task's function."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from .errors import ConfigError, SerializationError

__all__ = ["JsonSerializer", "said"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
Function = Callable[..., Any] | None


class JsonSerializer:
    """JSON that pydantic validates against the task's annotations; reading it never executes code."""

    name = "json"

    def __init__(self) -> None:
        try:
            import pydantic
            import pydantic_core
        except ImportError:
            raise ConfigError("serializer=\"json\" needs pydantic: pip install 'aiotask[json]'.") from None
        self._pydantic = pydantic
        self._core = pydantic_core
        self._known: WeakKeyDictionary[Callable[..., Any], _Adapters] = WeakKeyDictionary()

    def _adapters(self, function: Callable[..., Any]) -> _Adapters:
        adapters = self._known.get(function)
        if adapters is None:
            adapters = self._known[function] = _Adapters(function, self._pydantic)
        return adapters

    def _write(self, value: Any) -> bytes:
        return b"J" + bytes(self._core.to_json(value, bytes_mode="base64", inf_nan_mode="constants"))

    def _read(self, body: bytes) -> Any:
        if body[:1] != b"J":
            raise SerializationError(
                f"The body is of format {body[:1]!r}, this side reads JSON only. "
                "Give App(serializer=…) the same value on both sides."
            )
        return self._core.from_json(memoryview(body)[1:].tobytes())

    def dump_call(self, call: Call, function: Function) -> bytes:
        args, kwargs = call
        if function is not None:
            args, kwargs = self._adapters(function).encode_call(args, kwargs)
        return self._write((args, kwargs))

    def load_call(self, body: bytes, function: Function) -> Call:
        args, kwargs = self._read(body)
        if function is None:
            return tuple(args), dict(kwargs)
        return self._adapters(function).decode_call(args, kwargs)

    def dump_value(self, value: Any, function: Function) -> bytes:
        if function is not None:
            value = self._adapters(function).encode_value(value)
        return self._write(value)

    def load_value(self, body: bytes, function: Function) -> Any:
        value = self._read(body)
        return value if function is None else self._adapters(function).decode_value(value)

    def dump_error(self, error: BaseException) -> bytes | None:
        """Only built-in exceptions and aiotask's own travel as themselves: by name, with plain arguments."""
        if _exception_class(type(error).__module__, type(error).__qualname__) is not type(error):
            return None
        try:
            return self._write([type(error).__module__, type(error).__qualname__, list(error.args)])
        except Exception:
            return None

    def load_error(self, body: bytes) -> Any:
        module, name, args = self._read(body)
        found = _exception_class(module, name)
        if found is None:
            raise SerializationError(f'"{module}.{name}" is no exception that may be built from JSON.')
        return found(*args)


def _exception_class(module: str, name: str) -> type[BaseException] | None:
    """A built-in exception or one of aiotask's, by name; nothing is imported."""
    if module not in ("builtins", "aiotask.errors"):
        return None
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


class _Adapters:
    """pydantic's view of one function: an adapter per parameter and one for the return value."""

    def __init__(self, function: Callable[..., Any], pydantic: Any) -> None:
        import typing

        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except Exception as error:
            raise ConfigError(f'The annotations of "{function.__qualname__}" cannot be resolved: {error}.') from error
        self._name = function.__qualname__
        self._signature = inspect.signature(function)
        self._adapters = {
            name: pydantic.TypeAdapter(hints.get(name, Any)) for name in (*self._signature.parameters, "return")
        }

    def _each(self, args: Any, kwargs: Any, change: Callable[[str, Any], Any]) -> Call:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(change(name, item) for item in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: change(name, item) for key, item in value.items()}
            else:
                bound.arguments[name] = change(name, value)
        return bound.args, bound.kwargs

    def encode_call(self, args: Any, kwargs: Any) -> Call:
        return self._each(args, kwargs, self._encode)

    def decode_call(self, args: Any, kwargs: Any) -> Call:
        return self._each(args, kwargs, self._decode)

    def encode_value(self, value: Any) -> Any:
        return self._encode("return", value)

    def decode_value(self, value: Any) -> Any:
        return self._decode("return", value)

    def _encode(self, name: str, value: Any) -> Any:
        try:
            return self._adapters[name].dump_python(value, mode="json", warnings="error")
        except Exception as error:
            raise self._misfit(name, value, error) from error

    def _decode(self, name: str, value: Any) -> Any:
        try:
            return self._adapters[name].validate_python(value)
        except Exception as error:
            raise self._misfit(name, value, error) from error

    def _misfit(self, name: str, value: Any, error: Exception) -> SerializationError:
        what = f"the value of {self._name}()" if name == "return" else f'argument "{name}" of {self._name}()'
        return SerializationError(f"{what} ({type(value).__qualname__}) does not fit its annotation: {said(error)}.")


def said(error: Exception) -> str:
    """What an error says, without its full stop; of pydantic's pages the one line that matters."""
    try:
        text = str(error).rstrip(".")
    except Exception:
        return type(error).__name__
    details = getattr(error, "errors", None)
    if callable(details):
        found = details()[0]
        where = ".".join(map(str, found["loc"]))
        return f"{where + ': ' if where else ''}{found['msg']}"
    expected = re.search(r"Expected (.+?) - serialized", text)
    return f"{expected[1]} expected" if expected else text
