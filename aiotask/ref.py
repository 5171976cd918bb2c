"""Ref: the stand-in for the value of a call that has not ended. Pickling finds it, and any use of it raises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Never, Self

from .errors import Unresolved

__all__ = ["Found", "Ref", "collecting", "found_here", "refuse", "resolving"]


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

    def parts(self) -> tuple[list[Any], list[str], list[int]]:
        """The signatures behind the Refs, each once; the id behind each number of a Ref in the body; and the numbers
        that stand for the value or the error."""
        refs = self.refs
        if len(refs) == 1:
            call: Any = refs[0]._call
            return [call], [call.id], [0] if refs[0]._settled else []
        calls = {ref._call.id: ref._call for ref in refs}
        settled = [number for number, ref in enumerate(refs) if ref._settled]
        return list(calls.values()), [ref._call.id for ref in refs], settled

    @property
    def calls(self) -> list[Any]:
        """The signatures behind the Refs, each once."""
        return self.parts()[0]

    @property
    def upstream(self) -> list[str]:
        """The id behind each number of a Ref in the body."""
        return self.parts()[1]

    @property
    def settled(self) -> list[int]:
        """The numbers that stand for the value or the error."""
        return self.parts()[2]


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
            refuse(self, "serialized")
        return _take, (_here.found.number(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> Never:
        refuse(self, "changed")

    def __delattr__(self, name: str) -> Never:
        refuse(self, "changed")

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):
            # Libraries look for methods of their own protocols; Python names the attribute then.
            raise AttributeError(f"{self!r} has no attribute {name}", name=name, obj=self)
        raise UnresolvedAttribute(_text(self, f'asked for its attribute "{name}"'), name=name, obj=self)


class UnresolvedAttribute(Unresolved, AttributeError):
    """An attribute of a value that is not there yet."""

    def __init__(self, text: str, *, name: str, obj: object) -> None:
        AttributeError.__init__(self, text, name=name, obj=obj)


def _refusing(what: str) -> Callable[..., Never]:
    def method(self: Ref, *args: object, **kwargs: object) -> Never:
        refuse(self, what)

    return method


#: What a program does with a value, and the methods that Python calls for it.
_USES = {
    "tested as true or false": "bool",
    "iterated over": "iter next reversed aiter anext",
    "asked for its length": "len length_hint",
    "indexed": "getitem setitem delitem",
    "searched": "contains",
    "called": "call",
    "turned into text or bytes": "str format bytes fspath",
    "compared": "eq ne lt le gt ge",
    "hashed (as a set member or a dict key)": "hash",
    "turned into a number": "int float complex index round trunc floor ceil",
    "calculated with": "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor radd rsub rmul "
    "rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor neg pos abs invert",
    "entered in a with block": "enter exit aenter aexit",
    "awaited": "await",
}
for _use, _methods in _USES.items():
    for _method in _methods.split():
        setattr(Ref, f"__{_method}__", _refusing(_use))


def _text(ref: Ref, what: str) -> str:
    return (
        f'The value of "{ref._call.task}" is not there yet, so it cannot be {what} here. A .cast may only be passed '
        "on: as an argument of another call, also inside lists, tuples, dicts and dataclasses. Do this in a task that "
        "takes the value, or send the call with apply_async() and await it first."
    )


def refuse(ref: Ref, what: str) -> Never:
    """Raise the error for a use of a value that is not there yet.

    Args:
        what: the use, as a past participle.
    """
    raise Unresolved(_text(ref, what))


def _take(number: int) -> Any:
    """The value in place of a Ref that was pickled."""
    if _here.values is None:
        raise Unresolved("This was serialized with future values in it, and only a worker knows them.")
    return _here.values[number]


def found_here() -> Found | None:
    """What ``collecting`` gathers in this thread; None: no Refs may be serialized here."""
    return _here.found


class collecting:
    """A block in which this thread may serialize Refs: each is written as its number."""

    __slots__ = ("_before",)

    def __enter__(self) -> Found:
        self._before, found = _here.found, Found()
        _here.found = found
        return found

    def __exit__(self, *_: object) -> None:
        _here.found = self._before


@contextmanager
def resolving(values: Sequence[Any]) -> Iterator[None]:
    """A block in which this thread unpickles Refs as these values, by number."""
    before, _here.values = _here.values, values
    try:
        yield
    finally:
        _here.values = before
