"""Calls by a task's name, from a sender that has no function and therefore no annotations.

Plain JSON data travels as it is. What JSON has no type for (a date, bytes, a model) is written by its own class, and
the call says so: the worker then makes sure that its annotations brought an object of a class of that name.
"""

from __future__ import annotations

from typing import Any

import pydantic_core

from ...errors import SerializationError
from .adapter import Misfit, adapter_of, reason_of, to_json
from .function import Call, JsonFunction
from .sameness import MISSING, attribute, has_state, kind_of, same_plain

__all__ = ["check_arrival", "write_named"]

_PLAIN = frozenset({type(None), bool, int, float, str})


def write_named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The call as JSON.

    Raises:
        SerializationError: an argument has no JSON form, or one that cannot be read again.
    """
    call = [list(args), kwargs]
    try:
        text = to_json(call)
        if same_plain(call, pydantic_core.from_json(text)):
            return text
    except Exception:  # the arguments are checked one by one, to name the one at fault
        pass
    writer = _Writer()
    parts = [writer.argument(value, f"#{n + 1}", n) for n, value in enumerate(args)]
    named = {key: writer.argument(value, key, key) for key, value in kwargs.items()}
    return to_json([parts, named, writer.marks] if writer.marks else [parts, named])


class _Writer:
    def __init__(self) -> None:
        self.marks: list[list[Any]] = []

    def argument(self, value: Any, name: str, key: int | str) -> Any:
        try:
            tree = self._tree(value, [key])
            pydantic_core.from_json(to_json(tree))
            return tree
        except Misfit as misfit:
            raise SerializationError(f'argument "{name}{misfit.path}" {misfit.what}.') from misfit
        except Exception as error:
            kind = type(value).__qualname__
            raise SerializationError(
                f'argument "{name}" ({kind}) cannot be serialized with json: {reason_of(error)}.'
            ) from error

    def _tree(self, value: Any, path: list[Any]) -> Any:
        kind: Any = type(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return [self._tree(each, [*path, n]) for n, each in enumerate(value)]
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    what = f"(dict) has the key {key!r}: in a call by name, keys must be text"
                    raise Misfit(_shown(path), what)
            return {key: self._tree(each, [*path, key]) for key, each in value.items()}
        for base, plain in _BASES:
            if isinstance(value, base):
                if has_state(value):
                    what = (
                        f'cannot be serialized with json: it would arrive as "{base.__name__}", without its attributes'
                    )
                    raise Misfit(_shown(path), f"({kind.__qualname__}) {what}")
                self.marks.append([path, kind.__name__, base.__name__])
                return plain(value)
        self.marks.append([path, kind.__name__])
        try:
            return pydantic_core.from_json(adapter_of(kind).encode(value, sparse=True))
        except Misfit as misfit:
            raise Misfit(_shown(path) + misfit.path, misfit.what) from misfit
        except Exception as error:
            what = f"({kind.__qualname__}) cannot be serialized with json: {reason_of(error)}"
            raise Misfit(_shown(path), what) from error


#: Plain types whose subclasses are sent as plain text or numbers, which a parameter of the plain type takes.
_BASES: tuple[tuple[type, Any], ...] = ((str, str.__str__), (int, int.__int__), (float, float.__float__))


def _shown(path: list[Any]) -> str:
    return "".join(f"[{step!r}]" for step in path[1:])


# ---- at the worker


def check_arrival(function: JsonFunction, call: Call, marks: list[list[Any]]) -> None:
    """Check that arguments that were not plain JSON data at the sender are not plain data here.

    Raises:
        SerializationError: the annotations have made an object of another class.
    """
    args, kwargs = call
    for path, wanted, *base in marks:
        root, *steps = path
        found: Any = args[root] if isinstance(root, int) else kwargs[root]
        for step in steps:
            found = _below(found, step)
        kind = type(found).__name__
        if kind == wanted or (base and kind == base[0] and function.is_declared_plain(root, wanted)):
            continue
        name = function.parameter(root)
        came = "was not found where it arrived" if found is MISSING else f'arrived as "{kind_of(found)}"'
        raise SerializationError(
            f'argument "{name}{_shown(path)}" of {function.name}() was sent by name as "{wanted}" but {came}: '
            f"annotate it with {wanted}, or send plain JSON data."
        )


def _below(value: Any, step: Any) -> Any:
    if isinstance(value, list | tuple):
        return value[step] if isinstance(step, int) and step < len(value) else MISSING
    if isinstance(value, dict):
        return value.get(step, MISSING)
    found = attribute(value, step) if isinstance(step, str) else MISSING
    if found is MISSING or step not in _fields(value):
        for name, field in _fields(value).items():
            if step in (getattr(field, "alias", None), getattr(field, "validation_alias", None)):
                return attribute(value, name)
    return found


def _fields(value: Any) -> dict[str, Any]:
    return getattr(type(value), "__pydantic_fields__", None) or getattr(type(value), "__dataclass_fields__", {})
