"""Arguments and values to bytes and back.

A body begins with one byte that names its format: ``P`` plain pickle, ``C`` cloudpickle (then two
bytes: the Python major and minor that wrote it), ``J`` JSON.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from .errorform import attributes_of, below, is_a, is_kept, said, stand_in, text_of, unlike
from .errors import ConfigError, SerializationError
from .pickler import Pickler, by_value, may_hold_errors, pickled

__all__ = ["OtherPython", "Serializer", "check_serializer", "main_name", "serializer_named"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
Function = Callable[..., Any] | None

_HERE = bytes(sys.version_info[:2])


class OtherPython(SerializationError):
    """A body by value that another Python minor version wrote; loading it here could crash the process."""

    def __init__(self, wrote: tuple[int, int]) -> None:
        self.need = f"python:{wrote[0]}.{wrote[1]}"
        super().__init__(
            f"This body carries code by value that Python {wrote[0]}.{wrote[1]} wrote; this process runs Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Run both sides on the same minor version, or define the "
            "function in a module that both import."
        )


class Serializer(Protocol):
    """How bodies are written and read. ``function`` is the task's function where it is known here."""

    name: str

    def dump_call(self, call: Call, function: Function) -> bytes: ...
    def load_call(self, body: bytes, function: Function) -> Call: ...
    def dump_value(self, value: Any, function: Function) -> bytes: ...
    def load_value(self, body: bytes, function: Function) -> Any: ...

    def dump_error(self, error: BaseException) -> bytes | None:
        """An exception that will come back as what it is.

        Raises:
            SerializationError: it would not; the message says why. None says so without a reason.
        """

    def load_error(self, body: bytes) -> Any: ...


@functools.cache
def main_name() -> str | None:
    """The name by which another process imports what runs here as ``__main__``; None where no process can."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    path: str | None = getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):
        return None
    file = os.path.realpath(path)
    # A worker starts with its current directory on the path, a script with its own folder.
    for folder in (*sys.path[1:], os.getcwd(), os.path.dirname(file)):
        root = os.path.realpath(folder or os.getcwd())
        if file.startswith(root + os.sep) and not root.endswith(("site-packages", "dist-packages")):
            dotted = os.path.splitext(os.path.relpath(file, root))[0].replace(os.sep, ".")
            if all(part.isidentifier() for part in dotted.split(".")):
                return dotted
    return os.path.splitext(os.path.basename(file))[0]


class _Unpickler(pickle.Unpickler):
    """Knows the script that runs here by the name under which its workers import it.

    Else the script would be imported a second time, and the classes of that copy are others.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module == main_name():
            found: Any = sys.modules["__main__"]
            for part in name.split("."):
                found = getattr(found, part, None)
            if getattr(found, "__module__", None) == "__main__":
                return found
        return super().find_class(module, name)


@functools.cache
def _main_bytes() -> bytes:
    return (main_name() or "__main__").encode()


def _unpickle(body: bytes, start: int) -> Any:
    if body.find(_main_bytes()) >= 0:
        return _Unpickler(io.BytesIO(memoryview(body)[start:])).load()
    return pickle.loads(memoryview(body)[start:])


class PickleSerializer:
    """Plain pickle where that is faithful; cloudpickle for lambdas, closures and what ``__main__`` defines.

    Pickle stores a class or function of ``__main__`` by reference, and the worker's ``__main__`` is
    another one; the name stands in the bytes then, so looking for it there is a sure and cheap test.
    So is one for exceptions, which pickle rebuilds by ``__init__``: only bytes that look up a class
    and call it can hold one.
    """

    name = "cloudpickle"

    def _dump(self, value: Any, function: Function = None) -> bytes:
        try:
            plain = pickle.dumps(value, 5)
        except Exception:
            plain = b"\x93__main__"
        # Not "in", which first takes what it looks for as a number, and makes an error of that.
        if plain.find(b"\x93") < 0:
            return b"P" + plain
        if plain.find(b"__main__") >= 0:
            return b"C" + _HERE + pickled(value, by_value())
        if plain.find(b"R\x94") >= 0 and may_hold_errors(plain, value):
            plain = pickled(value)
        return b"P" + plain

    def _load(self, body: bytes, function: Function = None) -> Any:
        kind = body[:1]
        if kind == b"P":
            if len(body) < 4096 and body.find(_main_bytes()) < 0:
                return pickle.loads(body[1:])
            return _unpickle(body, 1)
        if kind == b"C":
            if body[1:3] != _HERE:
                raise OtherPython((body[1], body[2]))
            return _unpickle(body, 3)
        raise SerializationError(
            f"The body is of format {body[:1]!r}, this side reads pickle. "
            "Give App(serializer=…) the same value on both sides."
        )

    # The same under four names: a method between would cost as much as a small pickle.
    dump_call = dump_value = _dump
    load_call = load_value = _load

    def dump_error(self, error: BaseException) -> bytes | None:
        instead: dict[int, BaseException] = {}
        body, why = self._tried(error, instead)
        if why and is_a(error, BaseExceptionGroup):
            # Members of members come after them.
            for member in reversed(below(error)):
                fault = self._tried(member, instead)[1]
                if fault:
                    instead[id(member)] = stand_in(member, fault)
            body, why = self._tried(error, instead)
        if why:
            raise SerializationError(why)
        return body

    def _tried(self, error: BaseException, instead: dict[int, BaseException]) -> tuple[bytes, str]:
        """An exception as bytes, and why they may not be sent: what is read from them is not what was written."""
        try:
            try:
                plain = pickled(error, Pickler, instead)
            except Exception:
                plain = b"__main__"
            body = b"P" + plain
            if plain.find(b"__main__") >= 0:
                body = b"C" + _HERE + pickled(error, by_value(), instead)
        except BaseException as fault:  # even a SystemExit that comes out of a __reduce__ is no reason to end here
            return b"", f"{self._blamed(error)}{type(fault).__name__}: {text_of(fault).rstrip('.')}"
        try:
            return body, unlike(error, self._load(body), instead, by_value=body[:1] == b"C")
        except BaseException as fault:
            return b"", f"it cannot be made again from its pickle: {type(fault).__name__}: {text_of(fault).rstrip('.')}"

    def _blamed(self, error: BaseException) -> str:
        """The attribute for which an exception cannot be pickled."""
        if is_kept(type(error)):
            for name, value in attributes_of(error).items():
                try:
                    self._dump(value)
                except BaseException:
                    return f'its attribute "{name}" ({type(value).__qualname__}) cannot be serialized: '
        return "it cannot be pickled: "

    def load_error(self, body: bytes) -> Any:
        return self._load(body)


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


_named: dict[str, Serializer] = {}


def check_serializer(name: object) -> str:
    """The name, if there is such a serializer.

    Raises:
        ConfigError: there is none.
    """
    if not isinstance(name, str) or name not in ("cloudpickle", "json"):
        raise ConfigError(f'serializer={name!r}: there is no such serializer. Use "cloudpickle" or "json".')
    return name


def serializer_named(name: str) -> Serializer:
    """The serializer of this name: ``cloudpickle`` or ``json``.

    Raises:
        ConfigError: there is none, or what it needs is not installed.
    """
    if name not in _named:
        _named[name] = JsonSerializer() if check_serializer(name) == "json" else PickleSerializer()
    return _named[name]
