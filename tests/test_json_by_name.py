"""serializer="json": calls by a task's name, whose sender knows no annotation."""

from __future__ import annotations

import collections
import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from aiotask.errors import SerializationError

from .json_types import (
    AT,
    Aliased,
    Animal,
    Color,
    Dog,
    File,
    Level,
    Line,
    One,
    Optionally,
    Order,
    Pair,
    Patch,
    Point,
    Shop,
    serializer,
    task_of,
)

ID = UUID("12345678-1234-5678-1234-567812345678")


def arrives_by_name(annotation: Any, value: Any) -> Any:
    """What the task gets for this argument of a sender that has no function."""
    task = task_of(annotation)
    (arrived,), kwargs = serializer.load_call(serializer.dump_call(((value,), {}), None), task)
    (), named = serializer.load_call(serializer.dump_call(((), {"value": value}), None), task)
    assert kwargs == {} and repr(named["value"]) == repr(arrived)
    return arrived


ARRIVES: dict[str, tuple[Any, Any, Any]] = {
    "plain data": (..., {"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
    "bytes that are text": (bytes, b"abcd", b"abcd"),
    "bytes that are no text": (bytes, b"\xff\x00", b"\xff\x00"),
    "bytes in a list": (list[bytes], [b"\xff", b"a"], [b"\xff", b"a"]),
    "bytes in a dict for a model": (File, {"name": "a", "data": b"\xff"}, File(name="a", data=b"\xff")),
    "a datetime": (dt.datetime, AT, AT),
    "a datetime in a dict": (dict[str, dt.datetime], {"at": AT}, {"at": AT}),
    "a UUID in a dict for a model with an alias": (Order, {"id": ID, "lines": []}, Order(id=ID, lines=[])),
    "a Decimal": (Decimal, Decimal("1.50"), Decimal("1.50")),
    "a Path": (Path, Path("/a"), Path("/a")),
    "a tuple": (tuple[int, str], (1, "a"), (1, "a")),
    "a set": (set[int], {1, 2}, {1, 2}),
    "an enum member": (Color, Color.RED, Color.RED),
    "an enum member for a str": (str, Color.RED, "red"),
    "an enum member for an int": (int, Level.LOW, 1),
    "a model": (Line, Line(article="leek", price=Decimal(1)), Line(article="leek", price=Decimal(1))),
    "a dict for a model": (Line, {"article": "leek", "price": "1"}, Line(article="leek", price=Decimal(1))),
    "a dict with an alias": (Optionally, {"userId": 3}, Optionally(userId=3)),
    "a dict with the name of a field": (Aliased, {"user_id": 3}, Aliased(userId=3)),
    "a dataclass": (Point, Point(1.0, 2.0), Point(1.0, 2.0)),
    "a NamedTuple": (Pair, Pair(1, dt.date(2026, 1, 30)), Pair(1, dt.date(2026, 1, 30))),
    "models in a list": (list[Animal], [Animal(name="a")], [Animal(name="a")]),
    "a model in a dict for a model": (Shop, {"animals": [Animal(name="a")]}, Shop(animals=[Animal(name="a")])),
}


@pytest.mark.parametrize("case", ARRIVES)
def test_it_arrives_as_it_was(case: str) -> None:
    annotation, value, expected = ARRIVES[case]

    arrived = arrives_by_name(annotation, value)

    assert type(arrived) is type(expected)
    assert arrived == expected


def test_fields_that_were_not_set_stay_so() -> None:
    assert arrives_by_name(Patch, Patch(name="Ada")).model_fields_set == {"name"}


REFUSED_AT_THE_WORKER: dict[str, tuple[Any, Any, str]] = {
    "a datetime for no annotation": (..., AT, 'argument "value" of task\\(\\) was sent by name as "datetime".*"str"'),
    "a datetime in a dict": (dict[str, Any], {"a": [AT]}, r"\"value\['a'\]\[0\]\".*\"datetime\".*\"str\""),
    "bytes for no annotation": (..., b"a", '"bytes" but arrived as "str"'),
    "bytes for a str": (str, b"a", '"bytes" but arrived as "str"'),
    "a tuple for no annotation": (..., (1, 2), '"tuple" but arrived as "list"'),
    "a tuple for a Sequence": (Sequence[int], (1, 2), '"tuple" but arrived as "list"'),
    "a set for a list": (list[int], {1}, '"set" but arrived as "list"'),
    "a model for no annotation": (..., One(x=1), '"One" but arrived as "dict"'),
    "a subclass of the annotation": (Animal, Dog(name="rex"), '"Dog" but arrived as "Animal"'),
    "a subclass in a list": (list[Animal], [Dog(name="rex")], r'"value\[0\]".*"Dog" but arrived as "Animal"'),
    "an enum member for no annotation": (..., Color.RED, '"Color" but arrived as "str"'),
    "a Decimal for a float": (float, Decimal("1.5"), '"Decimal" but arrived as "float"'),
    "text that is no number": (int, "x", r'"value" of task\(\) \(str\) does not fit its annotation.*valid integer'),
    "a field that is missing": (
        Line,
        {"article": "a"},
        r'"value\.price" of task\(\) \(dict\) does not fit.*Field required',
    ),
}


@pytest.mark.parametrize("case", REFUSED_AT_THE_WORKER)
def test_what_arrives_as_something_else_is_refused_at_the_worker(case: str) -> None:
    annotation, value, reason = REFUSED_AT_THE_WORKER[case]
    body = serializer.dump_call(((value,), {}), None)

    with pytest.raises(SerializationError, match=reason):
        serializer.load_call(body, task_of(annotation))


REFUSED_AT_THE_SENDER: dict[str, tuple[Any, str]] = {
    "an object": (object(), r'argument "#1" \(object\) cannot be serialized with json'),
    "an object in a dict": (
        {"a": [object()]},
        r"argument \"#1\['a'\]\[0\]\" \(object\) cannot be serialized with json",
    ),
    "int keys": ({1: "a"}, "has the key 1: in a call by name, keys must be text"),
    "an OrderedDict of dates": (collections.OrderedDict(a=AT), r'"#1\[\'a\'\]" \(datetime\)'),
    "a tuple of dates": ((AT,), r'"#1\[0\]" \(datetime\) cannot be serialized with json'),
    "half a pair": ("\ud800", r'"#1" \(str\) cannot be serialized with json'),
    "a generator": ((n for n in [1]), "cannot be serialized with json"),
}


@pytest.mark.parametrize("case", REFUSED_AT_THE_SENDER)
def test_what_has_no_json_form_is_refused_where_it_is_sent(case: str) -> None:
    value, reason = REFUSED_AT_THE_SENDER[case]

    with pytest.raises(SerializationError, match=reason):
        serializer.dump_call(((value,), {}), None)


def test_nesting_that_cannot_be_read_is_refused_where_it_is_sent() -> None:
    value: list[Any] = []
    for _ in range(240):
        value = [value]

    with pytest.raises(SerializationError, match=r"depth|recursion"):
        serializer.dump_call(((value,), {}), None)


def test_plain_calls_are_written_as_the_release_before_reads_them() -> None:
    assert serializer.dump_call(((1, "a"), {"n": None}), None) == b'J[[1,"a"],{"n":null}]'
    assert serializer.dump_call(((1,), {}), task_of(int)) == b"J[[1],{}]"
    assert serializer.dump_call(((b"abcd",), {}), task_of(bytes)) == b'J[["abcd"],{}]'
