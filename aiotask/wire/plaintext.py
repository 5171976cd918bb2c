"""Bodies as text, and plain values from them, without running code of a message or of an app.

For code that must never load a body: the recorder, the history, the read side. A body begins with one
byte that names its format: ``P`` pickle, ``C`` Python version + cloudpickle, ``J`` JSON.
"""

from __future__ import annotations

import io
import json
import pickle
import reprlib
from math import isfinite
from typing import Any, NoReturn

import msgspec

from ..errors import SerializationError

__all__ = ["TEXT_LIMIT", "clip", "plain_text", "plain_value"]

#: Characters to which the text of a value is cut if it is not written as JSON in full.
TEXT_LIMIT = 4096
#: Bytes of a pickle above which it is not read, so that each row of the history costs little.
_BODY_LIMIT = 32 * 1024
#: Bytes of a JSON body above which it is not read.
_JSON_LIMIT = 64 * 1024
#: Integers that every reader of JSON keeps exactly.
_EXACT = 2**53


def plain_value(body: bytes) -> Any:
    """The value in a body that is JSON or a pickle of plain data (numbers, text, bytes, containers).

    Raises:
        SerializationError: reading the body would import or call something, or the body is damaged.
    """
    if body[:1] == b"J":
        try:
            return json.loads(body[1:])
        except ValueError as error:
            raise SerializationError(f"This body is marked as JSON but is not valid JSON: {error}.") from error
    if body[:1] != b"P":
        raise SerializationError(f"A body of format {body[:1]!r} is not plain data.")
    stream = io.BytesIO(body)
    stream.seek(1)
    try:
        return _PlainUnpickler(stream).load()
    except SerializationError:
        raise
    except Exception as error:  # a damaged pickle may raise any exception
        raise SerializationError(f"This pickle is damaged: {type(error).__name__}: {error}.") from error


def plain_text(body: bytes) -> str:
    """The value in a body as JSON text, for people and programs.

    Values that JSON has no type for (bytes, sets, dates, large integers) are shortened strings in Python's notation;
    tuples are arrays. A body that cannot be read without running code is one string such as ``"<pickled, 1.2 kB>"``.
    """
    kind = body[:1]
    if kind == b"C":
        return _string(f"<pickled by value by Python {'.'.join(map(str, body[1:3]))}, {_size(body)}>")
    if kind not in (b"P", b"J"):
        return _string(f"<unknown format {kind!r}, {_size(body)}>")
    name, limit = ("JSON", _JSON_LIMIT) if kind == b"J" else ("pickled", _BODY_LIMIT)
    if len(body) <= limit:
        try:
            value = plain_value(body)
            return _as_json(value, limit) or _as_short_json(value)
        except (SerializationError, ValueError, RecursionError, MemoryError):
            pass
    return _string(f"<{name}, {_size(body)}>")


def _as_short_json(value: Any) -> str:
    """The value, shortened if necessary, as JSON of at most ``TEXT_LIMIT`` characters."""
    text = _as_json(_shown(value), TEXT_LIMIT)
    room = TEXT_LIMIT
    while not text or len(text) > TEXT_LIMIT:
        # Quotes and backslashes take two characters each in JSON.
        room //= 2
        text = _string(clip(_short.repr(value), room))
    return text


def _string(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "backslashreplace").decode()).decode()


def _shown(value: Any, level: int = 5) -> Any:
    """The value in types of JSON, cut to eight items each and five levels."""
    kind = type(value)
    if kind is str:
        return clip(value.encode("utf-8", "backslashreplace").decode(), _short.maxstring)
    if _is_json(value, _short.maxother) and kind not in (list, tuple, dict):
        return value
    if level and kind in (list, tuple):
        return [*(_shown(item, level - 1) for item in value[:8]), *(["…"] if len(value) > 8 else [])]
    if level and kind is dict:
        items = list(value.items())
        shown = {key if type(key) is str else _short.repr(key): _shown(item, level - 1) for key, item in items[:8]}
        return shown | ({"…": "…"} if len(items) > 8 else {})
    return _short.repr(value)


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """At most ``limit`` characters of a text, with a mark where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every name that a pickle wants to import or call."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise SerializationError(f'This pickle needs "{module}.{name}", so it is not plain data.')


def _is_json(value: Any, room: int) -> bool:
    """Whether JSON represents the value exactly (a tuple as an array) in about ``room`` characters; takes bounded time.

    A pickle of a few bytes can share one list many times over, which as text would fill a disk.
    """
    nodes = [value]
    for node in nodes:
        kind = type(node)
        if kind is str:
            room -= len(node)
        elif kind is list or kind is tuple:
            nodes.extend(node)
        elif kind is dict:
            if not all(type(key) is str for key in node):
                return False
            room -= sum(map(len, node))
            nodes.extend(node.values())
        elif kind is int:
            if not -_EXACT <= node <= _EXACT:
                return False
        elif kind is float:
            if not isfinite(node):
                return False
        elif node is not None and kind is not bool:
            return False
        if len(nodes) > room:
            return False
    return True


def _as_json(value: Any, room: int) -> str:
    """The value as JSON; empty if JSON cannot represent it in about ``room`` characters."""
    if not _is_json(value, room):
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return ""


class _ShortRepr(reprlib.Repr):
    """A repr that cuts containers and text, and bytes, which the base class writes in full before it cuts."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8
        self.maxstring = self.maxother = 200

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value) if len(value) <= self.maxother else f"{value[: self.maxother]!r}… ({_size(value)})"

    repr_bytearray = repr_bytes


_short = _ShortRepr()


def _size(data: bytes) -> str:
    count = float(len(data))
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
