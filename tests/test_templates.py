"""Texts that are made from the arguments of a call: ``key="user-{user_id}"``, or a function of the call."""

from __future__ import annotations

import uuid
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from aiotask import ConfigError
from aiotask.functions.template import fill, maker, names_in


class Size(Enum):
    SMALL = "s"


USER = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("everything", {}, "everything"),
        ("user-{user_id}", {"user_id": 7}, "user-7"),
        ("{a}{b}", {"a": "x", "b": "y"}, "xy"),
        ("{a}-{a}", {"a": 1}, "1-1"),
        ("{{{a}}}", {"a": 1}, "{1}"),
        ("{a}", {"a": "{b}"}, "{b}"),
        ("{a}", {"a": "%s {0} {x.__class__}"}, "%s {0} {x.__class__}"),
        ("{a}", {"a": USER}, str(USER)),
        ("{a}", {"a": Size.SMALL}, "s"),
        ("{a}", {"a": Decimal("1.50")}, "1.50"),
        ("{a}", {"a": date(2026, 1, 2)}, "2026-01-02"),
        ("{a}", {"a": None}, "None"),
        ("{a}", {"a": True}, "True"),
        ("größe-{maß}", {"maß": 3}, "größe-3"),
        ("line\n{a}", {"a": 1}, "line\n1"),
    ],
)
def test_a_template_is_filled(template: str, values: dict[str, Any], text: str) -> None:
    assert fill(template, values) == text


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{", "without its partner"),
        ("a}", "without its partner"),
        ("{a", "without its partner"),
        ("{}", '"{}"'),
        ("{0}", '"{0}"'),
        ("{user.id}", '"{user.id}"'),
        ("{x.__class__}", "only the name of a parameter"),
        ("{a!r}", '"{a!r}"'),
        ("{a:>3}", '"{a:>3}"'),
        ("{a[0]}", '"{a[0]}"'),
        ("{ a }", '"{ a }"'),
    ],
)
def test_a_malformed_template_is_refused(template: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r"template") as caught:
        names_in(template)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (object(), "type object"),
        ([1], "type list"),
        (b"a", "type bytes"),
        ("", "0 characters"),
        ("x" * 201, "201 characters"),
    ],
)
def test_a_value_without_a_text_of_its_own_is_refused(value: object, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        fill("{a}", {"a": value})


def call(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def order(user_id: int, /, what: str = "shoes", *more: int, size: int = 4, **rest: int) -> None: ...


@pytest.mark.parametrize(
    ("given", "args", "text"),
    [
        ("{user_id}-{what}-{size}", call(1), "1-shoes-4"),
        ("{user_id}-{what}-{size}", call(1, "hats", size=9), "1-hats-9"),
        ("{user_id}-{what}-{size}", call(1, what="hats"), "1-hats-4"),
        ("literal", call(1), "literal"),
        (lambda user_id, **_: user_id, call(7, "hats", 1, 2, deep=3), "7"),
        (lambda deep, **_: f"d{deep}", call(7, deep=3), "d3"),
        (lambda more, **_: len(more), call(7, "hats", 1, 2), "2"),
        (lambda **_: None, call(7), None),
    ],
)
def test_a_call_has_the_text_of_its_arguments(given: Any, args: tuple[Any, Any], text: str | None) -> None:
    assert maker(order, given, "key")(*args) == text


def test_a_template_names_parameters_of_the_function() -> None:
    with pytest.raises(ConfigError, match=r'key="\{user\}" names "user", .* It has user_id, what, size\.'):
        maker(order, "{user}", "key")
    with pytest.raises(ConfigError, match="It has none"):
        maker(lambda: None, "{user}", "key")


def test_what_a_function_returns_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"function of key= returned is a value of type dict"):
        maker(order, lambda **_: {}, "key")((1,), {})
    with pytest.raises(ConfigError, match="0 characters"):
        maker(order, lambda **_: "", "key")((1,), {})
