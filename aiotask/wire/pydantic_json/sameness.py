"""Whether a value that was read back from JSON is the value that was written, by type and by content.

``==`` alone does not tell: ``True == 1``, a tuple subclass equals a tuple, a model with other private attributes may be
equal, and an ``__eq__`` of the user's may raise. What no comparison can decide is reported as undecided.
"""

from __future__ import annotations

import dataclasses
import functools
import marshal
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

__all__ = ["MISSING", "Comparison", "Difference", "attribute", "field_names", "has_state", "kind_of", "same_plain"]

_EXACT = frozenset({bool, bytes, int, str, type(None)})
_NUMBERS = frozenset({bool, int})
#: Immutable, of a class that cannot be changed, and equal only to what is the same.
_SIMPLE = _EXACT | {float, date, timedelta, Decimal, UUID}
#: Stands for an attribute that does not exist.
MISSING = object()


def same_plain(sent: Any, back: Any) -> bool:
    """Whether two values are made of the same plain data, of exactly Python's own types.

    ``marshal`` writes those types alone, each in its own way (version 0: without references), and runs in C. False
    means "not plain, or not the same": a Comparison finds out which.
    """
    try:
        return marshal.dumps(sent, 0) == marshal.dumps(back, 0)
    except ValueError:  # other objects than plain data, or too deep nesting
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """Where two values differ, as in ``.items[2].price``, and how.

    Attributes:
        path: from the value down to the part that differs; empty for the value itself.
        kind: the class of the part as it was sent.
        what: what the part is read as.
        is_typed: whether a part of another class is read.
    """

    path: str
    kind: str
    what: str
    is_typed: bool = False


class Comparison:
    """One comparison of a value that was sent with the one that was read back.

    Args:
        lenient: a value that equals the plain text, number or bool that is read (an int for a float, a member of a
            StrEnum for a str) counts as the same.
        grown: unset fields of a model may be read as set.
        named: classes that the annotation names (enums, mostly). Their members are never taken for plain text or
            numbers, which a union may name beside them.

    Attributes:
        difference: the first difference; None while none was found.
        undecided: the classes of some objects do not say whether they are equal.
    """

    def __init__(self, *, lenient: bool = False, grown: bool = False, named: frozenset[type] = frozenset()) -> None:
        self._lenient = lenient
        self._grown = grown
        self._named = named
        self._open: set[tuple[int, int]] = set()
        self.difference: Difference | None = None
        self.undecided = False

    def same(self, sent: Any, back: Any) -> bool:
        """Whether the two values are the same as far as can be known."""
        return self._same(sent, back, ())

    # ---- by kind of value; a path is a chain of (rest of the path, last step), for it is needed only if they differ

    def _same(self, sent: Any, back: Any, path: Any) -> bool:
        kind: Any = type(sent)
        if kind is not type(back):
            if self._is_equal_plain(sent, back):
                return True
            name = "None" if back is None else "nothing" if back is MISSING else f'"{kind_of(back)}"'
            return self._differ(path, sent, f"would arrive as {name}{_shown(sent, back)}", is_typed=True)
        if kind in _EXACT:
            return bool(sent == back) or self._other(path, sent, back)
        if kind is float:
            return sent == back or (sent != sent and back != back) or self._other(path, sent, back)
        if isinstance(sent, dict):
            return self._same_dict(sent, back, path)
        if isinstance(sent, list | tuple | deque):
            return self._same_sequence(sent, back, path)
        if isinstance(sent, set | frozenset):
            return self._same_set(sent, back, path)
        names = field_names(kind)  # type: ignore[arg-type]  # a class can be hashed
        if names is None:
            return self._same_object(sent, back, path)
        return self._once(sent, back, path, names)

    def _is_equal_plain(self, sent: Any, back: Any) -> bool:
        """Whether a value counts as plain text or a number, and equals the one that was read."""
        if not self._lenient or type(sent) in self._named or has_state(sent):
            return False
        wanted = type(back)
        if wanted is float and type(sent) in _NUMBERS:
            return bool(sent == back)
        if wanted is int and isinstance(sent, int):
            return int.__eq__(sent, back) is True
        if wanted is str and isinstance(sent, str):
            return str.__eq__(sent, back) is True
        return wanted is float and isinstance(sent, float) and (float.__eq__(sent, back) is True or sent != sent)

    def _same_dict(self, sent: dict[Any, Any], back: dict[Any, Any], path: Any) -> bool:
        if isinstance(sent, defaultdict) and sent.default_factory is not getattr(back, "default_factory", None):
            return self._differ(path, sent, "would arrive with another default_factory")
        kinds: dict[Any, type] | None = None
        for key, value in sent.items():
            if key not in back:
                as_text = type(key) is not str and str(key) in back
                how = f"with the key {_short(key)} as text" if as_text else f"without the key {_short(key)}"
                return self._differ(path, sent, f"would arrive {how}")
            if type(key) is not str:
                kinds = kinds or {each: type(each) for each in back}
                if kinds[key] is not type(key) and not self._is_equal_plain(key, next(k for k in back if k == key)):
                    return self._differ(path, sent, f"would arrive with the key {_short(key)} as {kinds[key].__name__}")
            if not self._same(value, back[key], (path, key, False)):
                return False
        if len(back) > len(sent):
            added = next(key for key in back if key not in sent)
            return self._differ(path, sent, f"would arrive with one more key, {_short(added)}")
        return True

    def _same_sequence(self, sent: Any, back: Any, path: Any) -> bool:
        if len(sent) != len(back):
            return self._differ(path, sent, f"would arrive with {len(back)} items, not {len(sent)}")
        if isinstance(sent, deque) and sent.maxlen != back.maxlen:
            return self._differ(path, sent, "would arrive with another maxlen")
        return all(
            self._same(one, other, (path, n, False)) for n, (one, other) in enumerate(zip(sent, back, strict=True))
        )

    def _same_set(self, sent: Any, back: Any, path: Any) -> bool:
        if len(sent) != len(back):
            return self._differ(path, sent, f"would arrive with {len(back)} items, not {len(sent)}")
        found = {each: each for each in back}
        rest = [each for each in back if each not in sent]
        for each in sent:
            # An item without an equal on the other side may be a NaN, which differs from itself.
            others = [found[each]] if each in found else rest
            if not any(self._afresh().same(each, other) for other in others):
                return self._differ(path, sent, f'would arrive with another item in place of a "{kind_of(each)}"')
        return True

    def _afresh(self) -> Comparison:
        return Comparison(lenient=self._lenient, grown=self._grown, named=self._named)

    def _once(self, sent: Any, back: Any, path: Any, names: tuple[str, ...]) -> bool:
        """Compare two models or dataclasses; a pair that is being compared further up is not compared again."""
        pair = (id(sent), id(back))
        if pair in self._open:
            return True
        self._open.add(pair)
        try:
            return self._same_fields(sent, back, path, names)
        finally:
            self._open.discard(pair)

    def _same_fields(self, sent: Any, back: Any, path: Any, names: tuple[str, ...]) -> bool:
        is_model = _is_model(type(sent))  # type: ignore[arg-type]  # a class can be hashed
        one_of, other_of = (sent.__dict__, back.__dict__) if is_model else (_Attributes(sent), _Attributes(back))
        for name in names:
            one, other = one_of.get(name, MISSING), other_of.get(name, MISSING)
            if one is other or (type(one) in _SIMPLE and type(one) is type(other) and one == other):
                continue
            if one is MISSING or other is MISSING:
                return self._differ(path, sent, f'would arrive with{"out" if other is MISSING else ""} "{name}"')
            if not self._same(one, other, (path, name, True)):
                return False
        if is_model:
            return self._same_model_state(sent, back, path)
        return self._same_rest(sent, back, path, names)

    def _same_model_state(self, sent: Any, back: Any, path: Any) -> bool:
        extra, private = sent.__pydantic_extra__, sent.__pydantic_private__
        if extra and not self._same(extra, back.__pydantic_extra__, path):
            return False
        if private:
            there = back.__pydantic_private__ or {}
            for name, value in private.items():
                if not Comparison(lenient=self._lenient, named=self._named).same(value, there.get(name, MISSING)):
                    return self._differ(path, sent, f'would arrive without its private attribute "{name}"')
        one, other = sent.__pydantic_fields_set__, back.__pydantic_fields_set__
        if one == other or (self._grown and one < other):
            return True
        names = ", ".join(sorted(one ^ other))
        return self._differ(path, sent, f"would arrive with other fields set ({names})")

    def _same_rest(self, sent: Any, back: Any, path: Any, names: tuple[str, ...]) -> bool:
        """Compare the attributes of a dataclass that are not its fields, without those that it computes itself."""
        for name, value in (getattr(sent, "__dict__", None) or {}).items():
            if name in names or isinstance(getattr(type(sent), name, None), functools.cached_property):
                continue
            there = attribute(back, name)
            if there is MISSING:
                return self._differ(path, sent, f'would arrive without its attribute "{name}"')
            if not self._same(value, there, (path, name, True)):
                return False
        return True

    def _same_object(self, sent: Any, back: Any, path: Any) -> bool:
        if sent is back:
            return True
        kind = type(sent)
        if getattr(kind, "__eq__", None) is object.__eq__:
            state = getattr(sent, "__dict__", None)
            if state:
                return self._same(dict(state), dict(getattr(back, "__dict__", None) or {}), path)
            self.undecided = True
            return True
        try:
            equal = bool(sent == back) and getattr(sent, "fold", 0) == getattr(back, "fold", 0)
            both_nan = not equal and sent != sent and back != back and isinstance(sent, (float, complex, Decimal))
        except Exception:  # an array, a signalling NaN, or an __eq__ that raises
            self.undecided = True
            return True
        return equal or both_nan or self._other(path, sent, back)

    # ---- the differences

    def _differ(self, path: Any, sent: Any, what: str, *, is_typed: bool = False) -> bool:
        if self.difference is None:
            self.difference = Difference(_path(path), kind_of(sent), what, is_typed)
        return False

    def _other(self, path: Any, sent: Any, back: Any) -> bool:
        return self._differ(path, sent, f"would arrive with another value{_shown(sent, back)}")


class _Attributes:
    """The attributes of an object with or without a ``__dict__``, without its ``__getattr__``."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self, name: str, default: Any) -> Any:
        try:
            return object.__getattribute__(self._value, name)
        except AttributeError:
            return default


@functools.lru_cache(maxsize=2048)
def _is_model(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields_set__") and hasattr(kind, "__pydantic_fields__")


@functools.lru_cache(maxsize=2048)
def field_names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a model or dataclass; None for another class."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return tuple(kind.__pydantic_fields__) if _is_model(kind) else None


def attribute(value: Any, name: str) -> Any:
    """The attribute of this name; MISSING if there is none."""
    return _Attributes(value).get(name, MISSING)


def has_state(value: Any) -> bool:
    """Whether text or a number of a user's class has attributes of its own; never for a member of an enum."""
    return not isinstance(value, Enum) and bool(getattr(value, "__dict__", None))


def _path(chain: Any) -> str:
    return "".join(reversed(list(_steps(chain))))


def _steps(chain: Any) -> Iterator[str]:
    while chain:
        chain, step, attribute = chain
        yield f".{step}" if attribute else f"[{step!r}]"


def kind_of(value: Any) -> str:
    """The name of the class of a value."""
    return type(value).__qualname__


def _shown(sent: Any, back: Any) -> str:
    """Both values if they are numbers; text may be long, or secret."""
    shown = type(sent) in (int, float) and type(back) in (int, float)
    return f" ({_short(sent)} as {_short(back)})" if shown else ""


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        return f"of type {type(value).__qualname__}"
    return text if len(text) <= 60 else f"{text[:59]}…"
