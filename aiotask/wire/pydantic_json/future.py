"""Calls and values with Refs in them, as JSON.

``null`` stands in the place of each Ref, and a list beside the data names the places, so that no data of a user can
look like a Ref. The JSON of a value is put in its place before the annotation validates the whole argument.

=====  ===================================================================
call   ``[[positional], {by name}, [mark, …], [[path, number of the Ref], …]]``
value  ``[value, [[path, number of the Ref], …]]``
=====  ===================================================================
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pydantic_core

from ...errors import SerializationError, Unresolved
from ...ref import Found, Ref, found_here, refuse
from .adapter import Adapter, Misfit, adapter_of, reason_of, to_json
from .function import Call, JsonFunction
from .named import check_arrival

__all__ = ["read_call", "read_value", "refuse_refs", "write_call", "write_value"]

Upstream = Sequence[bytes | BaseException]
Path = list[int | str]
_ANY = adapter_of(Any)


#: Stands for a Ref in data that pydantic has written, with its number. No text of a user can contain it: it is drawn
#: for this process, which never lets it out.
_MARK = secrets.token_hex(16)


class _Marking(threading.local):
    """Whether pydantic has met a Ref in this thread."""

    is_met = False


_marking = _Marking()


def _marked(ref: Ref) -> str:
    found = found_here()
    if found is None:
        refuse(ref, "serialized")
    _marking.is_met = True
    return f"{_MARK}{found.number(ref)}"


# pydantic asks the class of an object that it has no schema for; it would iterate over a Ref otherwise.
Ref.__pydantic_serializer__ = pydantic_core.SchemaSerializer(  # type: ignore[attr-defined]
    {"type": "any", "serialization": {"type": "function-plain", "function": _marked}}
)


class _Places:
    """Writes data with Refs as plain data, and keeps their places."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self.list: list[tuple[Path, int]] = []

    def write(self, adapter: Adapter, value: Any, path: Path, *, sparse: bool) -> bytes:
        """The JSON of a value with ``null`` in the places of Refs.

        Raises:
            Misfit: the value does not fit the annotation, or would be read as a different one.
        """
        if type(value) is adapter.exact:
            return adapter.encode(value, sparse=sparse)
        before = len(self.list)
        tree = self._plain(value, path) if adapter.is_any else self._marked(adapter, value, path, sparse=sparse)
        return adapter.encode(value, sparse=sparse) if len(self.list) == before else to_json(tree)

    def _plain(self, value: Any, path: Path) -> Any:
        """Data without an annotation: containers are walked through, and anything else must be plain JSON data."""
        kind = type(value)
        if kind is Ref:
            self.list.append((path, self._found.number(value)))
            return None
        if kind is list:
            return [self._plain(each, [*path, n]) for n, each in enumerate(value)]
        if kind is dict and all(type(key) is str for key in value):
            return {key: self._plain(each, [*path, key]) for key, each in value.items()}
        return pydantic_core.from_json(_ANY.encode(value, sparse=True))

    def _marked(self, adapter: Adapter, value: Any, path: Path, *, sparse: bool) -> Any:
        _marking.is_met = False
        try:
            tree = adapter.dump_leniently(value, sparse=sparse)
        except Exception as error:
            raise Misfit("", f"cannot be serialized with json: {reason_of(error)}") from error
        return self._taken_out(tree, path) if _marking.is_met else tree

    def _taken_out(self, tree: Any, path: Path) -> Any:
        """The tree with None in place of the marks, whose places are kept."""
        if isinstance(tree, str) and tree.startswith(_MARK):
            self.list.append((path, int(tree[len(_MARK) :])))
            return None
        if isinstance(tree, list):
            return [self._taken_out(each, [*path, n]) for n, each in enumerate(tree)]
        if isinstance(tree, dict):
            return {key: self._taken_out(each, [*path, key]) for key, each in tree.items()}
        return tree


# ---- writing


def write_call(function: JsonFunction | None, args: Sequence[Any], kwargs: dict[str, Any], found: Found) -> bytes:
    """The JSON of a call in which Refs may stand; empty: there are none, so it is an ordinary call.

    Raises:
        SerializationError: an argument would not arrive unchanged.
    """
    places = _Places(found)
    at = _adapters(function, args, kwargs)
    positional = [_argument(places, at, [0, n], value) for n, value in enumerate(args)]
    named = [to_json(name) + b":" + _argument(places, at, [1, name], value) for name, value in kwargs.items()]
    if not places.list:
        return b""
    return b"[[%b],{%b},[],%b]" % (b",".join(positional), b",".join(named), to_json(places.list))


def _adapters(
    function: JsonFunction | None, args: Sequence[Any], kwargs: Iterable[str]
) -> dict[int | str, tuple[str, Adapter]]:
    """For each argument of a call: how errors name it, and its adapter."""
    if function is not None:
        return function.adapters(args, kwargs)
    positional: dict[int | str, tuple[str, Adapter]] = {n: (f"#{n + 1}", _ANY) for n in range(len(args))}
    return positional | {name: (name, _ANY) for name in kwargs}


def _argument(places: _Places, at: dict[int | str, tuple[str, Adapter]], path: Path, value: Any) -> bytes:
    shown, adapter = at[path[1]]
    try:
        return places.write(adapter, value, path, sparse=True)
    except Misfit as misfit:
        raise SerializationError(f'argument "{shown}{misfit.path}" {misfit.what}.') from misfit


def write_value(function: JsonFunction | None, value: Any, found: Found) -> bytes:
    """The JSON of a value in which Refs may stand; empty: there are none, so it is an ordinary value.

    Raises:
        SerializationError: the value would not arrive unchanged.
    """
    places = _Places(found)
    try:
        text = places.write(function.value_adapter if function else _ANY, value, [], sparse=False)
    except Misfit as misfit:
        raise SerializationError(f"the value{misfit.path} {misfit.what}.") from misfit
    return b"[%b,%b]" % (text, to_json(places.list)) if places.list else b""


def refuse_refs(error: Exception, *values: Any) -> None:
    """Raise Unresolved if one of these values, which JSON cannot write, holds a Ref.

    Args:
        error: why it cannot.
    """
    found = _first_ref(values)
    if found is not None:
        try:
            refuse(found, "serialized")
        except Unresolved as unresolved:
            raise unresolved from error


def _first_ref(values: Iterable[Any]) -> Ref | None:
    """A Ref in these values, in containers and attributes in them."""
    stack, seen = list(values), set[int]()
    while stack and len(seen) < _SEARCHED:
        value = stack.pop()
        if type(value) is Ref:
            return value
        if id(value) in seen or isinstance(value, str | bytes | int | float | type):
            continue
        seen.add(id(value))
        stack += value.values() if type(value) is dict else value if isinstance(value, list | tuple) else ()
        with contextlib.suppress(Exception):  # an object without attributes of its own
            stack += vars(value).values()
    return None


#: Objects that are searched for a Ref at most.
_SEARCHED = 100_000


# ---- reading


def read_call(function: JsonFunction | None, text: bytes, upstream: Upstream) -> Call:
    """The arguments of a call, with these values in the places of Refs.

    Raises:
        SerializationError: an argument does not fit its annotation.
    """
    args, kwargs, marks, places = pydantic_core.from_json(text)
    with_errors = _put([args, kwargs], places, upstream)
    if function is None:
        return tuple(args), kwargs
    if not with_errors:
        call = function.decode_call([to_json(each) for each in args], {key: to_json(kwargs[key]) for key in kwargs})
    else:
        at = _adapters(function, args, kwargs)
        read = _reader(function, at, {path[1] for path in with_errors})
        call = tuple(read(n, each) for n, each in enumerate(args)), {key: read(key, kwargs[key]) for key in kwargs}
    for mark in marks:
        check_arrival(function, call, mark)
    return call


def _reader(
    function: JsonFunction, at: dict[int | str, tuple[str, Adapter]], with_errors: set[int | str]
) -> Callable[[int | str, Any], Any]:
    def read(key: int | str, tree: Any) -> Any:
        shown, adapter = at[key]
        try:
            return adapter.validate(tree) if key in with_errors else adapter.decode(to_json(tree))
        except Exception as error:
            what = f"does not fit its annotation: {reason_of(error)}"
            raise SerializationError(f'argument "{shown}" of {function.name}() {what}.') from error

    return read


def read_value(function: JsonFunction | None, text: bytes, upstream: Upstream) -> Any:
    """A value, with these values in the places of Refs.

    Raises:
        SerializationError: it does not fit the annotation.
    """
    whole = pydantic_core.from_json(text)
    held = [whole[0]]
    with_errors = _put(held, [([0, *path], number) for path, number in whole[1]], upstream)
    if function is None:
        return held[0]
    return function.value_adapter.validate(held[0]) if with_errors else function.decode_value(to_json(held[0]))


def _put(data: Any, places: Iterable[tuple[Path, int]], upstream: Upstream) -> list[Path]:
    """Put values in the places of Refs; return the places that have got an exception."""
    with_errors = []
    for path, number in places:
        *steps, last = path
        holder = data
        for step in steps:
            holder = holder[step]
        given = upstream[number]
        if isinstance(given, BaseException):
            with_errors.append(path)
            holder[last] = given
        else:
            holder[last] = pydantic_core.from_json(given[1:])
    return with_errors
