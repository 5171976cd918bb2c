"""``where`` of a pause: an argument, an operator and a value."""

from __future__ import annotations

from typing import Any

import pytest

from aiotask import ConfigError
from aiotask.brokers.pauses import condition_of, pause_id


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("tenant == acme", "acme", True),
        ("tenant == 'acme'", "acme", True),
        ("tenant=='acme'", "acme", True),
        ("tenant == acme", "other", False),
        ("tenant == 7", 7, True),
        ("tenant == 7", "7", False),
        ("tenant == None", None, True),
        ("tenant == a == b", "a == b", True),
        ("tenant != acme", "other", True),
        ("tenant != acme", "acme", False),
        ("tenant < 7", 6, True),
        ("tenant<7", 7, False),
        ("tenant <= 7", 7, True),
        ("tenant<=7", 8, False),
        ("tenant > 7", 7.5, True),
        ("tenant > 7", 7, False),
        ("tenant >= 7", 7, True),
        ("tenant >= 7", 6, False),
        ("tenant in a, b", "b", True),
        ("tenant in ['a', 'b']", "b", True),
        ("tenant in (1, 2)", 3, False),
        ("tenant in 5", "5", True),
        # What cannot be compared does not match.
        ("tenant < 7", "text", False),
        ("tenant < 7", None, False),
        ("tenant in [1, 2]", [1], False),
    ],
)
def test_a_condition_is_true_or_not(text: str, value: Any, holds: bool) -> None:
    assert condition_of(text).holds({"tenant": value}) is holds


def test_a_call_without_the_argument_does_not_match() -> None:
    assert not condition_of("tenant != acme").holds({"other": "x"})


@pytest.mark.parametrize("text", ["", "tenant", "tenant ==", "== 7", "tenant like acme", "a.b == 7", "tenant inside 7"])
def test_a_text_that_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no condition: give the name of an argument.+Operators: =="):
        condition_of(text)


def test_the_same_condition_is_the_same_pause() -> None:
    assert pause_id(task="t", where="tenant == 'acme'") == pause_id(task="t", where="tenant=='acme'")
    assert pause_id(task="t", where="tenant == acme") != pause_id(task="t", where="tenant == other")
    assert pause_id(task="t") == "task:t"
