"""Arguments that people are not shown: by parts of their names, and by their places in calls of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

__all__ = ["DOTS", "HIDDEN", "Hidden", "Secret"]

#: Parts of the names of arguments whose values are dots in any case.
HIDDEN = ("password", "passwd", "secret", "token", "credential", "api_key", "apikey", "authorization", "private_key")
#: What stands for a value that is hidden.
DOTS = "•••"


class Secret(str):
    """The dots in place of a value; ``repr`` shows them without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_DOTS = Secret(DOTS)
#: Levels and items of containers that a line of a log may show.
_DEPTH, _ITEMS = 4, 100


class Hidden(msgspec.Struct, frozen=True):
    """Which arguments are hidden.

    Attributes:
        words: parts of names in lower case. They count for arguments, and for keys of dicts anywhere in a value.
        places: name of a task -> the positional arguments that stand for parameters with such a name; ``-N - 1``:
            number N and all behind it.
    """

    words: tuple[str, ...] = HIDDEN
    places: Mapping[str, tuple[int, ...]] = {}

    def hides(self, name: str) -> bool:
        lower = name.lower()
        return any(word in lower for word in self.words)

    def value(self, value: Any, name: str = "") -> Any:
        """The value without what stands under a name that is hidden; the same object, if there is nothing.

        Args:
            name: under which the value itself stands; empty: none.
        """
        if name and value is not None and self.hides(name):
            return _DOTS
        if isinstance(value, dict):
            shown = {key: self.value(each, key if isinstance(key, str) else "") for key, each in value.items()}
            return value if all(shown[key] is value[key] for key in shown) else shown
        # A named tuple is made otherwise.
        if type(value) in (list, tuple):
            items = [self.value(each) for each in value]
            same = all(item is each for item, each in zip(items, value, strict=True))
            return value if same else type(value)(items)
        return value

    def call(self, arguments: Any, task: str | None = "") -> Any:
        """The same of the arguments of a call of a task: a pair of a list and a dict, or anything else that stands for
        them."""
        match arguments:
            case [list() | tuple() as args, dict() as kwargs]:
                return [[*self.args(args, task or "")], self.value(kwargs)]
            case _:
                return self.value(arguments)

    def shown(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The same of the arguments of a call, as its task got them, as much of it as a line of a log shows."""
        return self.args(_brief(args, 0), task), self.value(_brief(kwargs, 0))

    def args(self, args: Iterable[Any], task: str) -> list[Any]:
        """The same of positional arguments."""
        places = self.places.get(task, ())
        return [_DOTS if _is_in(number, places) else self.value(each) for number, each in enumerate(args)]

    def with_words(self, words: Collection[str]) -> Hidden:
        """The same, and these parts of names."""
        return Hidden(tuple(dict.fromkeys((*self.words, *(word.lower() for word in words)))), self.places)

    def joined(self, other: Hidden) -> Hidden:
        """What either of the two hides."""
        places = dict(self.places)
        for task, numbers in other.places.items():
            places[task] = tuple(sorted({*places.get(task, ()), *numbers}))
        return Hidden(self.with_words(other.words).words, places)


def _brief(value: Any, depth: int) -> Any:
    """The beginning of plain containers: what a task gets may be large, or contain itself."""
    if depth > _DEPTH:
        return value if not isinstance(value, dict | list | tuple) else _DOTS
    if isinstance(value, dict):
        return {key: _brief(each, depth + 1) for key, each in islice(value.items(), _ITEMS)}
    if type(value) in (list, tuple):
        return type(value)(_brief(each, depth + 1) for each in value[:_ITEMS])
    return value


def _is_in(number: int, places: Collection[int]) -> bool:
    return any(number == place if place >= 0 else number >= -place - 1 for place in places)
