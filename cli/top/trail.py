"""The pages that were opened, one on top of the other, and how one leads to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .page import Page, Where

__all__ = ["Place", "Trail"]

#: Pages that are remembered.
_MOST = 20


@dataclass
class Place:
    """A page that was opened: what it is of, and where the pages of the list before it begin."""

    where: Where
    before: list[str] = field(default_factory=list)
    #: What a page shows that is not read again; None: it is read.
    fixed: Callable[[int], Page] | None = None


class Trail:
    """Where the user is, and was."""

    def __init__(self) -> None:
        self._places = [Place(Where("overview"))]

    @property
    def place(self) -> Place:
        return self._places[-1]

    @property
    def where(self) -> Where:
        return self.place.where

    def begin(self, where: Where) -> None:
        """Forget the way, and stand here."""
        self._places = [Place(where)]

    def go(self, where: Where, fixed: Callable[[int], Page] | None = None) -> None:
        """Open a page on top of this one."""
        self._places = [*self._places[-_MOST:], Place(where, fixed=fixed)]

    def replace(self, where: Where, before: list[str] | None = None) -> None:
        """Show another page in the place of this one."""
        self._places[-1] = Place(where, before or [])

    def back(self) -> bool:
        """To the page before, or to the list without its filter; False: this is the first one."""
        if len(self._places) > 1:
            self._places.pop()
            return True
        if self.where.given:
            self.replace(Where(self.where.view))
            return True
        return False

    def ask(self, **changed: str) -> None:
        """The same view with other conditions, from its first page on."""
        kept = {name: value for name, value in {**self.where.given, **changed}.items() if value and name != "after"}
        self.replace(Where(self.where.view, self.where.name, kept))

    def choose(self, choices: tuple[str, tuple[str, ...], str], step: int) -> bool:
        """The next or previous status, or range; False: the page has none."""
        name, values, chosen = choices
        if not name:
            return False
        at = values.index(chosen) if chosen in values else 0
        self.ask(**{name: values[(at + step) % len(values)]})
        return True

    def leaf(self, after: str, *, forward: bool) -> bool:
        """The page of the list that begins at ``after``, or the one before; False: there is none."""
        here, before = self.where, self.place.before
        if forward and after:
            before = [*before, here.given.get("after", "")]
        elif not forward and before:
            after, before = before[-1], before[:-1]
        else:
            return False
        given: Mapping[str, str] = {name: value for name, value in here.given.items() if name != "after"}
        self.replace(replace(here, given={**given, "after": after} if after else given), before)
        return True
