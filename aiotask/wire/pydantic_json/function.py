"""Writes and reads calls of a task's function, and its return values, as JSON."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from ...errors import ConfigError, SerializationError
from ...functions.callables import gives_items
from ...functions.injected import callers_signature, injected_into
from .adapter import Adapter, Misfit, NotDefinedYet, adapter_of, reason_of, to_json, where_of

__all__ = ["JsonFunction", "Unresolved", "imported_for_types_only"]

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Unresolved(ConfigError):
    """An annotation contains a name that is not defined (yet)."""

    def __init__(self, function: str, name: str) -> None:
        self.name = name
        super().__init__(
            f'The annotations of "{function}" cannot be resolved: "{name}" is not defined. With serializer="json" they '
            "are read when the program runs: define it in the module, or import it there (not under TYPE_CHECKING)."
        )


class JsonFunction:
    """The adapters of one function, one for each parameter and one for the return value.

    Raises:
        Unresolved: an annotation names something that is not defined.
        ConfigError: an annotation is of a type that pydantic has no JSON for.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        annotated = _annotated(function)
        self.name: str = getattr(annotated, "__qualname__", None) or type(function).__qualname__
        if not inspect.isroutine(function) and not isinstance(function, functools.partial):
            self.name = type(function).__qualname__
        hints = self._hints(annotated)
        self._any = adapter_of(Any)
        self._adapters: dict[str, Adapter] = {}
        self._whole: set[str] = set()
        self._value = self._any
        for name, hint in hints.items():
            hint, whole = _meant(hint)
            if name == "return":
                if gives_items(function):
                    # What is written and read are the items of the generator, one by one.
                    hint = next(iter(typing.get_args(hint)), Any)
                self._value = self._any if hint is Any else self._adapter(name, hint)
                continue
            self._adapters[name] = self._any if hint is Any else self._adapter(name, hint)
            if whole:
                self._whole.add(name)
        # A wrapper with ``*args, **kwargs`` takes an argument with the name of an inner parameter as that parameter.
        self._shapes = [_Shape(each, set(self._adapters) if n else ()) for n, each in enumerate(_signatures(function))]

    def _hints(self, annotated: Callable[..., Any]) -> dict[str, Any]:
        code = getattr(annotated, "__code__", None)
        enclosed = {}
        for name, cell in zip(
            getattr(code, "co_freevars", ()), getattr(annotated, "__closure__", None) or (), strict=True
        ):
            with contextlib.suppress(ValueError):  # a variable that has no value yet
                enclosed[name] = cell.cell_contents
        try:
            return typing.get_type_hints(_sent_part(annotated), localns=enclosed or None, include_extras=True)
        except NameError as error:
            raise Unresolved(self.name, error.name or str(error)) from error
        except Exception as error:
            raise ConfigError(f'The annotations of "{self.name}" cannot be resolved: {reason_of(error)}.') from error

    def _adapter(self, name: str, hint: Any) -> Adapter:
        try:
            return adapter_of(hint) if type(hint) is type or hasattr(hint, "__pydantic_fields__") else Adapter(hint)
        except NotDefinedYet as error:
            raise Unresolved(self.name, error.name) from error
        except Exception as error:
            what = "its value" if name == "return" else f'parameter "{name}"'
            shown = getattr(hint, "__qualname__", None) or str(hint)
            raise ConfigError(
                f'"{self.name}": {what} is annotated with "{shown}", which has no JSON form: {reason_of(error)}. '
                'Annotate it with what pydantic can write and read, or use App(serializer="cloudpickle").'
            ) from error

    # ---- calls

    def encode_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
        """The call as JSON: ``[[positional], {by name}]``.

        Raises:
            SerializationError: an argument would not arrive unchanged.
        """
        shape = self._shape(args, kwargs)
        n = len(shape.positional)
        parts = [self._encode(name, name, value) for name, value in zip(shape.positional, args, strict=False)]
        if len(args) > n and shape.rest is not None:
            if shape.rest in self._whole:
                parts.append(self._encode(shape.rest, shape.rest, tuple(args[n:]))[1:-1])
            else:
                parts += [self._encode(shape.rest, f"{shape.rest}[{i}]", value) for i, value in enumerate(args[n:])]
        if not kwargs:
            return b"[[" + b",".join(parts) + b"],{}]"
        named = []
        others = {}
        for name, value in kwargs.items():
            if name not in shape.named and shape.others in self._whole:
                others[name] = value
            else:
                adapter = shape.parameter_of(name)
                named.append(to_json(name) + b":" + self._encode(adapter, name, value))
        if others:
            assert shape.others is not None
            named.append(self._encode(shape.others, shape.others, others)[1:-1])
        return b"[[" + b",".join(parts) + b"],{" + b",".join(named) + b"}]"

    def decode_call(self, args: Sequence[bytes], kwargs: dict[str, bytes]) -> Call:
        """The arguments in these pieces of JSON.

        Raises:
            SerializationError: an argument does not fit its annotation.
            TypeError: the function takes other arguments.
        """
        shape = self._shape(args, kwargs)
        n = len(shape.positional)
        values = [self._decode(name, name, piece) for name, piece in zip(shape.positional, args, strict=False)]
        if len(args) > n and shape.rest is not None:
            if shape.rest in self._whole:
                values += self._decode(shape.rest, shape.rest, b"[" + b",".join(args[n:]) + b"]")
            else:
                values += [self._decode(shape.rest, f"{shape.rest}[{i}]", piece) for i, piece in enumerate(args[n:])]
        named = {}
        others = []
        for name, piece in kwargs.items():
            if name not in shape.named and shape.others in self._whole:
                others.append(to_json(name) + b":" + piece)
            else:
                adapter = shape.parameter_of(name)
                named[name] = self._decode(adapter, name, piece)
        if others:
            assert shape.others is not None
            named.update(self._decode(shape.others, shape.others, b"{" + b",".join(others) + b"}"))
        return tuple(values), named

    def _shape(self, args: Sequence[Any], kwargs: dict[str, Any]) -> _Shape:
        for shape in self._shapes:
            if shape.takes(len(args), kwargs):
                return shape
        # Raises the TypeError that names the wrong argument.
        self._shapes[0].signature.bind(*args, **kwargs)
        return self._shapes[0]

    def adapters(self, args: Sequence[Any], kwargs: Iterable[str]) -> dict[int | str, tuple[str, Adapter]]:
        """For each argument of a call, by position or name: how errors name it, and its adapter."""
        shape = self._shape(args, dict.fromkeys(kwargs))
        n = len(shape.positional)
        found: dict[int | str, tuple[str, Adapter]] = {}
        for at in range(len(args)):
            name = shape.positional[at] if at < n else shape.rest or ""
            shown = name if at < n else f"{name}[{at - n}]"
            found[at] = shown, self._any if at >= n and name in self._whole else self._adapters.get(name, self._any)
        for name in kwargs:
            parameter = shape.parameter_of(name)
            found[name] = name, self._any if parameter in self._whole else self._adapters.get(parameter, self._any)
        return found

    # ---- values

    @property
    def value_adapter(self) -> Adapter:
        """The adapter of the return value."""
        return self._value

    def encode_value(self, value: Any) -> bytes:
        """The return value of the function as JSON.

        Raises:
            SerializationError: the value would not arrive unchanged.
        """
        try:
            # With all fields: a caller that knows only the job id reads the result without the class and its defaults.
            return self._value.encode(value, sparse=False)
        except Misfit as misfit:
            raise SerializationError(f"the value of {self.name}(){_at(misfit.path)} {misfit.what}.") from misfit

    def decode_value(self, piece: bytes) -> Any:
        """The return value of the function that this JSON stands for.

        Raises:
            SerializationError: the value does not fit the annotation.
        """
        try:
            return self._value.decode(piece)
        except Exception as error:
            what = f"({_json_kind(piece)}) does not fit its annotation: {reason_of(error)}"
            raise SerializationError(f"the value of {self.name}(){_at(where_of(error))} {what}.") from error

    # ---- one argument

    def parameter(self, root: int | str) -> str:
        """The parameter that an argument goes to, by its position or its name."""
        if isinstance(root, str):
            return root
        for shape in self._shapes:
            if root < len(shape.positional):
                return shape.positional[root]
        return f"#{root + 1}"

    def is_declared_plain(self, root: int | str, wanted: str) -> bool:
        """Whether an annotation covers all parts of this argument, and names no class of this name."""
        adapter = self._adapters.get(self.parameter(root), self._any)
        return not adapter.is_open and all(kind.__name__ != wanted for kind in adapter.named)

    def _encode(self, parameter: str, shown: str, value: Any) -> bytes:
        try:
            return self._adapters.get(parameter, self._any).encode(value, sparse=True)
        except Misfit as misfit:
            text = f'argument "{shown}{misfit.path}" of {self.name}() {misfit.what}.'
            raise SerializationError(text) from misfit

    def _decode(self, parameter: str, shown: str, piece: bytes) -> Any:
        try:
            return self._adapters.get(parameter, self._any).decode(piece)
        except Exception as error:
            what = f"({_json_kind(piece)}) does not fit its annotation: {reason_of(error)}"
            raise SerializationError(f'argument "{shown}{where_of(error)}" of {self.name}() {what}.') from error


class _Shape:
    """The parameters of a signature, by the way in which a call can fill them."""

    def __init__(self, signature: inspect.Signature, borrowed: Iterable[str]) -> None:
        self.signature = signature
        self._borrowed = frozenset(borrowed)
        parameters = signature.parameters.values()
        self.positional = [
            each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        self.named = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        self.rest = next((each.name for each in parameters if each.kind is each.VAR_POSITIONAL), None)
        self.others = next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), None)
        self._required = [
            (self.positional.index(each.name) if each.name in self.positional else -1, each.name)
            for each in parameters
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]

    def parameter_of(self, keyword: str) -> str:
        """The parameter that a keyword goes to."""
        return keyword if keyword in self.named or keyword in self._borrowed else self.others or ""

    def takes(self, count: int, kwargs: Iterable[str]) -> bool:
        if count > len(self.positional) and self.rest is None:
            return False
        for index, name in self._required:
            if not 0 <= index < count and (name not in self.named or name not in kwargs):
                return False
        filled = self.positional[:count]
        return all(
            (name not in filled or name not in self.named) if name in self.named else self.others is not None
            for name in kwargs
        )


def _annotated(function: Any) -> Any:
    """The function that carries the annotations: that of a partial, or the ``__call__`` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _sent_part(annotated: Any) -> Any:
    """An object with the annotations of a function, without those of parameters that a worker fills in."""
    injected = injected_into(annotated)
    if not injected:
        return annotated
    stand_in = FunctionType(_sent_part.__code__, getattr(inspect.unwrap(annotated), "__globals__", {}))
    hints = annotated.__annotations__
    stand_in.__annotations__ = {name: hint for name, hint in hints.items() if name not in injected}
    return stand_in


def _signatures(function: Any) -> list[inspect.Signature]:
    """The signature of a function as ``inspect`` gives it, and for a wrapper also that of the wrapper itself."""
    try:
        found = [callers_signature(function)]
    except (TypeError, ValueError):  # a builtin without a signature
        anything = [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]
        anything.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
        return [inspect.Signature(anything)]
    if hasattr(function, "__wrapped__"):
        with contextlib.suppress(TypeError, ValueError):
            found.append(callers_signature(function, follow_wrapped=False))
    return found


def _meant(hint: Any) -> tuple[Any, bool]:
    """The type to check, and whether it covers all arguments under one star together."""
    if isinstance(hint, typing.ParamSpecArgs | typing.ParamSpecKwargs) or hint in (typing.NoReturn, typing.Never):
        return Any, False
    origin = typing.get_origin(hint)
    if "Unpack" in (getattr(origin, "_name", ""), getattr(origin, "__name__", "")):
        inner = typing.get_args(hint)[0]
        return (Any, False) if isinstance(inner, typing.TypeVarTuple) else (inner, True)
    if getattr(hint, "__unpacked__", False):
        return tuple.__class_getitem__(typing.get_args(hint)), True
    return hint, False


def imported_for_types_only(function: Callable[..., Any], name: str) -> bool:
    """Whether the function's module imports this name only under ``if TYPE_CHECKING``, so it is never defined."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(_annotated(function)))
        tree = ast.parse(Path(path or "").read_text(encoding="utf-8"))
    except Exception:  # without the source there is no answer
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in node.body:
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for alias in inner.names:
                        if (alias.asname or alias.name.partition(".")[0]) == name:
                            return True
    return False


def _at(path: str) -> str:
    return f' at "{path.removeprefix(".")}"' if path else ""


def _json_kind(piece: bytes) -> str:
    kinds = {b"{": "dict", b"[": "list", b'"': "str", b"t": "bool", b"f": "bool", b"n": "NoneType"}
    first = piece.lstrip()[:1]
    return kinds.get(first, "float" if b"." in piece or b"e" in piece else "int")
