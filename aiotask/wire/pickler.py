"""Picklers that take exceptions apart as ``error_form`` does."""

from __future__ import annotations

import functools
import io
import pickle
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .error_form import reduce_error

__all__ = ["CLASS_MAKERS", "Pickler", "by_value", "copy_by_value", "may_hold_errors", "pickled"]

Refer = Callable[[Any], Any]
#: The functions by which cloudpickle makes a class that was written by value.
CLASS_MAKERS = frozenset({"_make_skeleton_class", "_make_skeleton_enum"})


class Pickler(pickle.Pickler):
    """Plain pickle, except that exceptions are taken apart as ``error_form`` does.

    Args:
        instead: other exceptions for some of those in the value, by the ids of these.
        refer: reduces other objects, as ``reducer_override`` does; None: pickle's own way.
    """

    def __init__(self, file: Any, instead: dict[int, BaseException], refer: Refer | None = None) -> None:
        super().__init__(file, 5)
        self._instead = instead
        self._refer = refer

    def reducer_override(self, value: Any) -> Any:
        reduced = _reduced(value, self._instead)
        return self._refer(value) if reduced is NotImplemented and self._refer is not None else reduced


@functools.cache
def by_value() -> type[Any]:
    """cloudpickle's pickler, which takes exceptions apart as ``Pickler`` does and writes other objects by ``refer``.

    With a class that it writes by value it writes what ``place`` says of it, as the last argument of the function of
    cloudpickle that makes the class. cloudpickle itself ignores that argument.
    """
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(
            self,
            file: Any,
            instead: dict[int, BaseException],
            refer: Refer | None = None,
            place: Callable[[type], Any] | None = None,
        ) -> None:
            super().__init__(file, 5)
            self._instead = instead
            self._refer = refer
            self._place = place

        def reducer_override(self, value: Any) -> Any:
            reduced = _reduced(value, self._instead)
            if reduced is NotImplemented and self._refer is not None:
                reduced = self._refer(value)
            if reduced is not NotImplemented:
                return reduced
            reduced = super().reducer_override(value)
            if self._place is None or type(reduced) is not tuple or reduced[0].__name__ not in CLASS_MAKERS:
                return reduced
            maker, args, *others = reduced
            return (maker, (*args[:-1], self._place(value)), *others)

    return ByValue


def copy_by_value(module: ModuleType) -> None:
    """From now on write objects that this module defines by value, as those of ``__main__``."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)


def _reduced(value: Any, instead: dict[int, BaseException]) -> Any:
    if not issubclass(type(value), BaseException):
        return NotImplemented
    other = instead.get(id(value))
    return reduce_error(value) if other is None else other.__reduce_ex__(5)


def pickled(
    value: Any,
    pickler: type[Any] = Pickler,
    instead: dict[int, BaseException] | None = None,
    *more: Any,
) -> bytes:
    """The bytes that one of these picklers writes for a value; ``more`` are its further arguments."""
    with io.BytesIO() as file:
        pickler(file, instead or {}, *more).dump(value)
        return file.getvalue()


#: A class or function that a pickle looks up: its name, and the opcode; and the opcode after a name that is not there.
_LOOKED_UP = re.compile(rb"\x8c.([\w.<>]+)\x94\x93", re.DOTALL)
_REMEMBERED = re.compile(rb"(?:h.|j....)\x93", re.DOTALL)
#: Names that no exception class has, valid for this number of loaded modules.
_harmless: set[bytes] = set()
_modules = 0


def may_hold_errors(plain: bytes, value: Any) -> bool:
    """Whether a value contains an exception, by its pickle; if that does not decide it, by a walk through the value."""
    # A walk is faster than a search in much data that contains these bytes by chance.
    if len(plain) < _MUCH or plain.count(b"\x93", 0, _MUCH) < _MANY:
        names, count = _LOOKED_UP.findall(plain), plain.count(b"\x93")
        if len(names) == count or (
            len(names) == plain.count(b"\x94\x93") and _REMEMBERED.search(plain) is None  # the others are no opcodes
        ):
            return not (len(sys.modules) == _modules and _harmless.issuperset(names)) and _any_error(names)
    probe = _Probe()
    probe.dump(value)
    return probe.found


_MUCH, _MANY = 65_536, 200


def _any_error(names: list[bytes]) -> bool:
    """Whether any module has an exception class of one of these names."""
    global _modules
    if len(sys.modules) != _modules:
        _modules = len(sys.modules)
        _harmless.clear()
    for name in names:
        if name not in _harmless:
            if _may_be_an_error(name.decode().split(".")):
                return True
            _harmless.add(name)
    return False


def _may_be_an_error(path: list[str]) -> bool:
    for module in list(sys.modules.values()):
        found: Any = module
        for part in path:
            found = getattr(found, "__dict__", {}).get(part)
        if isinstance(found, type) and issubclass(found, BaseException):
            return True
    return "<locals>" in path


class _Probe(pickle.Pickler):
    """Walks through a value as pickle does, without output, and records whether it has met an exception."""

    def __init__(self) -> None:
        # The callback leaves large buffers out.
        super().__init__(self, 5, buffer_callback=lambda _: None)
        self.found = False

    def write(self, data: Any) -> int:
        return len(data)

    def reducer_override(self, value: Any) -> Any:
        self.found = self.found or issubclass(type(value), BaseException)
        return NotImplemented
