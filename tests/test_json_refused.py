"""serializer="json": what would arrive as something else is refused where it is sent, and where it is returned."""

from __future__ import annotations

import collections
import datetime as dt
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import uuid4

import numpy
import pytest
from pydantic import (
    PositiveInt,
    SecretStr,
)

from aiotask.errors import SerializationError

from .json_types import (
    AT,
    Animal,
    Color,
    Crashing,
    Dog,
    Euros,
    Hidden,
    HiddenWithDefault,
    Line,
    Login,
    Loose,
    Noted,
    One,
    Options,
    Point,
    Point3,
    Shop,
    Shouted,
    Swapped,
    Two,
    Wide,
    serializer,
    task_of,
)


def noted(seen: int) -> Noted:
    value = Noted(text="a")
    value._seen = seen
    return value


def in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a secret": (Login, Login(password=SecretStr("hunter2")), r'"value\.password".*written as asterisks'),
    "an excluded field": (Hidden, Hidden(a=1), r'"value\.a".*Field required'),
    "an excluded field with a default": (
        HiddenWithDefault,
        HiddenWithDefault(a=1),
        r'"value\.a".*another value \(1 as 0\)',
    ),
    "tuples as keys": (dict[tuple[int, int], str], {(1, 2): "a"}, "should be a valid array"),
    "Decimal NaN": (Decimal, Decimal("NaN"), "finite number"),
    "a validator that changes a value again": (Euros, Euros(cents=1.5), r'"value\.cents".*\(150 as 15000\)'),
    "a serializer of one way": (Shouted, Shouted(text="a"), r'"value\.text" of task\(\) \(str\).*another value'),
    "a serializer that nothing reads": (Wide, Wide(price=Decimal(1000)), r'"value\.price".*valid decimal'),
    "aliases that are each other's names": (Swapped, Swapped(b=1, a=2), "another value"),
    "a subclass of the annotation": (Animal, Dog(name="rex"), r'"value" of task\(\) \(Dog\).*arrive as "Animal"'),
    "a subclass in a list": (list[Animal], [Animal(name="a"), Dog(name="rex")], r'"value\[1\]" of task\(\) \(Dog\)'),
    "a subclass in a field": (Shop, Shop(animals=[Dog(name="rex")]), r'"value\.animals\[0\]".*\(Dog\).*"Animal"'),
    "a subclass of a dataclass": (Point, Point3(1.0, 2.0, 3.0), r'\(Point3\).*"Point"'),
    "a subclass as an optional": (Animal | None, Dog(name="rex"), r'"Animal"'),
    "the other of two like models": (One | Two, Two(x=1), r'\(Two\).*"One"'),
    "a datetime as text in a union": (dt.datetime | str, "2026-01-30T12:00:00", "arrive as"),
    "a datetime under no annotation": (..., AT, r'"value" of task\(\) \(datetime\).*"str".*annotate it'),
    "a datetime in a dict": (dict[str, Any], {"a": [AT]}, r"\"value\['a'\]\[0\]\" of task\(\) \(datetime\)"),
    "a tuple under no annotation": (..., (1, 2), r'\(tuple\).*"list"'),
    "a tuple in a dict": (dict[str, Any], {"a": (1, 2)}, r"\"value\['a'\]\".*\(tuple\)"),
    "a tuple as list": (list[int], (1, 2), r"list\[int\]` expected"),
    "a tuple as Sequence": (Sequence[int], (1, 2), r'\(tuple\).*"list"'),
    "a list as tuple": (tuple[int, ...], [1, 2], "expected"),
    "a set under no annotation": (..., {1}, r'\(set\).*"list"'),
    "a Decimal under no annotation": (..., Decimal(1), r'\(Decimal\).*"str"'),
    "a UUID under no annotation": (..., uuid4(), r'\(UUID\).*"str"'),
    "a model under no annotation": (..., One(x=1), r'\(One\).*"dict"'),
    "a dataclass under no annotation": (..., Point(1.0), r'\(Point\).*"dict"'),
    "bytes under no annotation": (..., b"a", r'\(bytes\).*"str"'),
    "an enum member under no annotation": (..., Color.RED, r'\(Color\).*"str"'),
    "a number of numpy under no annotation": (..., numpy.float64(1.5), r'\(float64\).*"float"'),
    "an array": (..., numpy.array([1.0]), "cannot be serialized with json"),
    "a number that the annotation does not allow": (PositiveInt, -1, "does not fit the annotation.*greater than 0"),
    "an OrderedDict under no annotation": (..., collections.OrderedDict(a=1), r'\(OrderedDict\).*"dict"'),
    "int keys under no annotation": (..., {1: "a"}, r"the key 1 as text"),
    "int or text keys": (dict[str | int, str], {1: "a"}, r"the key 1 as text"),
    "a datetime among extra fields": (Loose, Loose(at=AT), r"\"value\['at'\]\" of task\(\) \(datetime\)"),
    "a private attribute": (Noted, noted(3), '"_seen"'),
    "keys that a TypedDict has not": (Options, {"size": 1, "color": "red"}, "without the key 'color'"),
    "a large int as float": (float, 2**53 + 1, "9007199254740993 as 9007199254740992.0"),
    "an int as bool": (bool, 1, "`bool` expected"),
    "a str as int": (int, "1", "`int` expected"),
    "a generator": (..., (n for n in [1]), r"\(generator\)"),
    "a generator as Iterable": (Iterable[int], (n for n in [1]), r"\(generator\)"),
    "a list in itself": (..., in_itself(), "Circular reference"),
    "a list in a thousand lists": (..., nested(1000), "depth|recursion"),
    "a list in 240 lists": (..., nested(240), "depth|recursion"),
    "half a pair": (str, "\ud800", "surrogates not allowed"),
    "an object": (..., object(), r'"value" of task\(\) \(object\) cannot be serialized with json'),
    "an object in a list": (list[Any], [object()], "cannot be serialized with json"),
    "a function": (..., print, "cannot be serialized with json"),
    "a field of the wrong type": (
        Line,
        Line.model_construct(article=1, price=Decimal(1)),
        r'"value\.article".*expected',
    ),
    "a model that lacks a field": (Line, Line.model_construct(article="a"), r'"value\.price".*Field required'),
    "fold": (dt.datetime, dt.datetime(2026, 1, 30, fold=1), "another value"),
    "flags of a pattern": (re.Pattern[str], re.compile("a", re.I), "another value"),
    "the maxlen of a deque": (collections.deque[int], collections.deque([1], maxlen=2), "maxlen"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_where_it_is_sent(case: str) -> None:
    annotation, value, reason = REFUSED[case]

    with pytest.raises(SerializationError, match=reason):
        serializer.dump_call(((value,), {}), task_of(annotation))


@pytest.mark.parametrize("case", [case for case in REFUSED if "generator" not in case])
def test_it_is_refused_where_it_is_returned(case: str) -> None:
    annotation, value, _ = REFUSED[case]

    with pytest.raises(SerializationError, match=r"^the value of task\(\)"):
        serializer.dump_value(value, task_of(annotation))


def test_code_of_the_user_that_crashes_is_a_refusal() -> None:
    Crashing.runs.clear()
    value = Crashing(n=1)

    with pytest.raises(SerializationError, match=r'argument "value".*in the user\'s code'):
        serializer.dump_call(((value,), {}), task_of(Crashing))
