"""Ref: the stand-in for the value of a call that has not ended. Pickling finds it, and any use of it raises."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Never, Self

from .errors import Unresolved

__all__ = ["Found", "Ref", "collecting", "resolving"]


class Found:
    """The Refs that the arguments of one call hold, in the order in which pickling has met them, each once."""

    def __init__(self) -> None:
        self.refs: list[Ref] = []
        self._numbers: dict[tuple[str, bool], int] = {}

    def number(self, ref: Ref) -> int:
        """The number of a Ref; it joins the others if it is new."""
        number = self._numbers.setdefault((ref._call.id, ref._settled), len(self.refs))
        if number == len(self.refs):
            self.refs.append(ref)
        return number


class _Here(threading.local):
    """What is being pickled or unpickled in this thread."""

    found: Found | None = None
    values: Sequence[Any] | None = None


_here = _Here()


class Ref:
    """The future value of a call, as ``.cast`` and ``.settled`` give it; it may only be passed on.

    Args:
        call: the signature; anything with ``id`` and ``task``.
        settled: whether it stands for the value or the error.
    """

    __slots__ = ("_call", "_settled")

    def __init__(self, call: Any, settled: bool = False) -> None:
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_settled", settled)

    def __repr__(self) -> str:
        return f"<the future value of {self._call.task} {self._call.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if _here.found is None:
            _refuse(self, "serialized")
        return _take, (_here.found.number(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> Never:
        _refuse(self, "changed")

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _NoAttribute(_text(self, f'asked for its attribute "{name}"'))


class _NoAttribute(Unresolved, AttributeError):
    """An attribute of a value that is not there yet."""


def _text(ref: Ref, what: str) -> str:
    return (
        f'The value of "{ref._call.task}" is not there yet, so it cannot be {what} here. A .cast may only be passed '
        "on: as an argument of another call, also inside lists, tuples, dicts and dataclasses. Do this in a task that "
        "takes the value, or await it first."
    )


def _refuse(ref: Ref, what: str) -> Never:
    raise Unresolved(_text(ref, what))


def _take(number: int) -> Any:
    """The value in place of a Ref that was pickled."""
    if _here.values is None:
        raise Unresolved("This was serialized with future values in it, and only a worker knows them.")
    return _here.values[number]


@contextmanager
def collecting() -> Iterator[Found]:
    """A block in which this thread may pickle Refs: each is written as its number."""
    before, _here.found = _here.found, Found()
    try:
        yield _here.found
    finally:
        _here.found = before


@contextmanager
def resolving(values: Sequence[Any]) -> Iterator[None]:
    """A block in which this thread unpickles Refs as these values, by number."""
    before, _here.values = _here.values, values
    try:
        yield
    finally:
        _here.values = before
