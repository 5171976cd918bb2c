"""Which of the names that are known was probably meant by one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["likely"]


def likely(given: str, known: Sequence[str]) -> str:
    """A question with the name that was probably meant, with a space in front; empty: none resembles the one given.

    The name of a task without its module is enough: ``render`` for ``shop.tasks:render``.
    """
    short = {name.rpartition(":")[2]: name for name in known}
    close = get_close_matches(given, known, n=1) or [short[name] for name in get_close_matches(given, short, n=1)]
    return f' Did you mean "{close[0]}"?' if close else ""
