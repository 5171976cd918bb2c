"""Parameters that are pairs: all of them in the full run, and in the ordinary one each value of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

__all__ = ["crossed"]

_PAIR = pytest.mark.full_only("both values occur in the ordinary run, each with the first one of the other kind")


def crossed(first: Mapping[str, object] | Iterable[str], second: Mapping[str, object] | Iterable[str]) -> list[object]:
    """Every pair; without ``--full`` those alone in which one of the two is the first of its kind.

    Args:
        first: values, or names of values that are no text.
    """
    return [
        pytest.param(one, other, id=f"{one_name}-{other_name}", marks=_PAIR if row and column else ())
        for row, (one_name, one) in enumerate(_named(first))
        for column, (other_name, other) in enumerate(_named(second))
    ]


def _named(values: Mapping[str, object] | Iterable[str]) -> Iterable[tuple[str, object]]:
    return values.items() if isinstance(values, Mapping) else [(value, value) for value in values]
