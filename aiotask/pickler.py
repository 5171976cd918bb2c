"""Picklers that take exceptions apart as errorform does it."""

from __future__ import annotations

import functools
import io
import pickle
import re
import sys
from typing import Any

from .errorform import reduce_error

__all__ = ["Pickler", "by_value", "may_hold_errors", "pickled"]


class Pickler(pickle.Pickler):
    """Plain pickle, except that an exception is taken apart as errorform does it.

    Args:
        instead: other exceptions for some of those in the value, by the ids of these.
    """

    def __init__(self, file: Any, instead: dict[int, BaseException]) -> None:
        super().__init__(file, 5)
        self._instead = instead

    def reducer_override(self, value: Any) -> Any:
        return _reduced(value, self._instead)


@functools.cache
def by_value() -> type[Any]:
    """cloudpickle's pickler with the same way for exceptions."""
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, file: Any, instead: dict[int, BaseException]) -> None:
            super().__init__(file, 5)
            self._instead = instead

        def reducer_override(self, value: Any) -> Any:
            reduced = _reduced(value, self._instead)
            return super().reducer_override(value) if reduced is NotImplemented else reduced

    return ByValue


def _reduced(value: Any, instead: dict[int, BaseException]) -> Any:
    if not issubclass(type(value), BaseException):
        return NotImplemented
    other = instead.get(id(value))
    return reduce_error(value) if other is None else other.__reduce_ex__(5)


def pickled(value: Any, pickler: type[Any] = Pickler, instead: dict[int, BaseException] | None = None) -> bytes:
    with io.BytesIO() as file:
        pickler(file, instead or {}).dump(value)
        return file.getvalue()


#: A class or function in a pickle: its name, and the opcode that looks it up.
_LOOKED_UP = re.compile(rb"\x8c.([\w.<>]+)\x94\x93", re.DOTALL)


def may_hold_errors(plain: bytes, value: Any) -> bool:
    """Whether an exception is in a value, as its pickle shows; True where that cannot be told for sure."""
    names = _LOOKED_UP.findall(plain)
    if len(names) == plain.count(b"\x93"):
        return any(_may_be_an_error(name, len(sys.modules)) for name in names)
    probe = _Probe()
    probe.dump(value)
    return probe.found


@functools.lru_cache(1024)
def _may_be_an_error(name: bytes, _: int) -> bool:
    """Whether any module has an exception class of this name; asked again when more modules are loaded."""
    path = name.decode().split(".")
    for module in list(sys.modules.values()):
        found: Any = module
        for part in path:
            found = getattr(found, "__dict__", {}).get(part)
        if isinstance(found, type) and issubclass(found, BaseException):
            return True
    return "<locals>" in path


class _Probe(pickle.Pickler):
    """Walks through a value as pickle does, keeps nothing, and knows afterwards whether an exception was met."""

    def __init__(self) -> None:
        # Large buffers are passed by.
        super().__init__(self, 5, buffer_callback=lambda _: None)
        self.found = False

    def write(self, data: Any) -> int:
        return len(data)

    def reducer_override(self, value: Any) -> Any:
        self.found = self.found or issubclass(type(value), BaseException)
        return NotImplemented
