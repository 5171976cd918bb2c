"""serializer="json": what one side writes arrives at the other as it was."""

from __future__ import annotations

import collections
import datetime as dt
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import (
    Base64Bytes,
    BaseModel,
    Field,
    PrivateAttr,
)

from .json_types import (
    AT,
    Aliased,
    Area,
    Array,
    Bird,
    Blob,
    ByName,
    Cat,
    Color,
    Dog,
    File,
    Holder,
    Level,
    Line,
    Loose,
    ManyNames,
    Names,
    Noted,
    Numbers,
    One,
    Optionally,
    Options,
    Order,
    OwnBytes,
    Pair,
    Patch,
    Point,
    Point3,
    Strict,
    Temperature,
    Tree,
    Two,
    Unequal,
    arrives,
    comes_back,
    serializer,
    task_of,
)

# ---- arrives as it was

PLAIN = {"id": 1, "tags": ["a", "b"], "price": 1.5, "none": None, "yes": True, "deep": {"list": [[], {}]}}

ARRIVES: dict[str, tuple[Any, Any]] = {
    "plain data without an annotation": (..., PLAIN),
    "plain data as Any": (Any, PLAIN),
    "plain data as dict": (dict, PLAIN),
    "plain data as dict[str, Any]": (dict[str, Any], PLAIN),
    "plain data as object": (object, PLAIN),
    "a list of dicts": (list[dict[str, Any]], [PLAIN, {}]),
    "text": (str, "naïve \n\t\u2028 \U0001f600"),
    "a large int": (int, 2**200),
    "None": (None, None),
    "an optional": (int | None, None),
    "infinity": (float, math.inf),
    "a Literal": (Literal["a", 1], 1),
    "a TypedDict": (Options, {"size": 1, "at": dt.date(2026, 1, 30)}),
    "part of a TypedDict": (Options, {"size": 1}),
    "a NamedTuple": (Pair, Pair(1, dt.date(2026, 1, 30))),
    "a tuple": (tuple[int, str], (1, "a")),
    "a tuple of any length": (tuple[int, ...], (1, 2, 3)),
    "a set": (set[int], {1, 2}),
    "a frozenset": (frozenset[str], frozenset({"a"})),
    "a deque": (collections.deque[int], collections.deque([1, 2])),
    "a defaultdict": (collections.defaultdict[str, list[int]], collections.defaultdict(list, {"a": [1]})),
    "a list as Sequence": (Sequence[int], [1, 2]),
    "a list as Iterable": (Iterable[int], [1, 2]),
    "a dict as Mapping": (Mapping[str, int], {"a": 1}),
    "int keys": (dict[int, str], {1: "a"}),
    "bool keys": (dict[bool, str], {True: "a"}),
    "date keys": (dict[dt.date, int], {dt.date(2026, 1, 30): 1}),
    "a datetime": (dt.datetime, AT),
    "a naive datetime": (dt.datetime, dt.datetime(2026, 1, 30, 12)),
    "a date, a time, a timedelta": (
        tuple[dt.date, dt.time, dt.timedelta],
        (dt.date(2026, 1, 30), dt.time(12, 30), dt.timedelta(days=1, microseconds=1)),
    ),
    "a Decimal": (Decimal, Decimal("1.50")),
    "a UUID": (UUID, uuid4()),
    "a Path": (Path, Path("/a/b")),
    "an address": (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1")),
    "a complex number": (complex, 1 + 2j),
    "a pattern": (re.Pattern[str], re.compile("a+")),
    "an enum member": (Color, Color.RED),
    "an IntEnum member": (Level, Level.LOW),
    "a dataclass": (Point, Point(1.0, 2.0)),
    "a dataclass without __eq__": (list[Unequal], [Unequal(1)]),
    "a subclass of a dataclass, annotated": (Point3, Point3(1.0, 2.0, 3.0)),
    "a model": (Line, Line(article="leek", price=Decimal("1.25"))),
    "models in a list": (list[Order], [Order(lines=[Line(article="leek", price=Decimal(1))])]),
    "a subclass, annotated": (Dog, Dog(name="rex", breed="lab")),
    "a union told by a tag": (Cat | Bird, Bird(name="tweety")),
    "a union with a discriminator": (
        list[Annotated[Cat | Bird, Field(discriminator="kind")]],
        [Bird(name="tweety"), Cat(name="tom")],
    ),
    "the first of two like models": (One | Two, One(x=1)),
    "an alias": (Aliased, Aliased(userId=3)),
    "an optional alias": (Optionally, Optionally(userId=3)),
    "alias choices, and other names outwards": (ManyNames, ManyNames(uid=3, mail="a@b")),
    "populate_by_name": (ByName, ByName(user_id=3)),
    "a computed field with extra=forbid": (Area, Area(w=2)),
    "a Json field": (Holder, Holder(data="[1]")),
    "strict": (Strict, Strict(at=AT, pair=(1, "a"), size=Decimal("1.5"))),
    "extra fields": (Loose, Loose(a=1, b="x")),
    "NaN in a model": (Numbers, Numbers(a=math.inf, b=-math.inf)),
    "a root model": (Names, Names(["a"])),
    "a recursive model": (Tree, Tree(children=[Tree(), Tree(children=[Tree()])])),
    "a model with an untouched private attribute": (Noted, Noted(text="a")),
    "a list of a model changed in place": (Order, None),
    "bytes that are text": (bytes, b"abcd"),
    "bytes that are no text": (bytes, b"\xff\x00"),
    "bytes that look like the mark": (bytes, b"data:;base64,AAAA"),
    "empty bytes": (bytes, b""),
    "bytes in a model": (File, File(name="a", data=b"\x89PNG")),
    "bytes in models in a dict": (
        dict[str, list[File]],
        {"a": [File(name="a", data=b"\xfe"), File(name="b", data=b"b")]},
    ),
    "bytes in a dataclass": (Blob, Blob(b"\xff")),
    "bytes with a config of their own": (OwnBytes, OwnBytes(data=b"\xff")),
    "base64 bytes": (Base64Bytes, b"\xff\xfe"),
    "bytes as keys": (dict[bytes, int], {b"\xff": 1}),
    "bytes or a number": (bytes | int, b"\xff"),
    "bytes or text: bytes": (bytes | str, b"abcd"),
    "bytes or text: text": (bytes | str, "abcd"),
    "text or bytes: bytes": (list[str | bytes | None], [b"\xff", "abcd", b"abcd", None]),
}
_grown = Order()
_grown.lines.append(Line(article="salt", price=Decimal("0.5")))
ARRIVES["a list of a model changed in place"] = (Order, _grown)


@pytest.mark.parametrize("case", ARRIVES)
def test_it_arrives_as_it_was(case: str) -> None:
    annotation, value = ARRIVES[case]

    for arrived in (arrives(annotation, value), comes_back(annotation, value)):
        if isinstance(value, list) and isinstance(value[0], Unequal):
            assert [type(each) for each in arrived] == [Unequal] and arrived[0].x == value[0].x
        else:
            assert type(arrived) is type(value)
            assert arrived == value
            assert re.sub(r"TzInfo\(\w+\)", "datetime.timezone.utc", repr(arrived)) == repr(value)


def test_nan_arrives_as_nan() -> None:
    assert math.isnan(arrives(float, math.nan))
    assert math.isnan(arrives(list[float], [math.nan])[0])
    assert math.isnan(arrives(..., {"a": [math.nan]})["a"][0])
    assert math.isnan(arrives(Loose, Loose(a={"b": math.nan})).a["b"])
    assert math.isnan(arrives(Numbers, Numbers(a=math.nan)).a)
    assert math.isnan(arrives(Point, Point(math.nan)).x)


@pytest.mark.parametrize("kind", [Temperature, Array])
def test_classes_whose_objects_cannot_be_compared_arrive(kind: type[Temperature]) -> None:
    assert arrives(kind, kind(21.5)).degrees == 21.5
    assert arrives(list[kind], [kind(21.5)])[0].degrees == 21.5  # type: ignore[valid-type]


def test_what_was_not_set_counts_as_not_set_at_the_task() -> None:
    arrived = arrives(Patch, Patch(name="Ada"))
    assert arrived.model_fields_set == {"name"}
    assert arrived.model_dump(exclude_unset=True) == {"name": "Ada"}

    class Tagged(Patch):
        kind: Literal["tagged"] = "tagged"
        id: UUID = Field(default_factory=uuid4)

    tagged = Tagged(name="Ada")
    arrived = arrives(list[Tagged], [tagged])[0]
    assert arrived.id == tagged.id
    assert {"mail", "tags"}.isdisjoint(arrived.model_fields_set)


def test_a_lock_in_a_private_attribute_is_made_anew() -> None:
    import threading

    class Client(BaseModel):
        name: str
        _lock: Any = PrivateAttr(default_factory=threading.Lock)
        _cache: dict[str, Any] = PrivateAttr(default_factory=dict)

    assert arrives(Client, Client(name="a")).name == "a"


# ---- arrives as the declared type, which equals it

AS_DECLARED: dict[str, tuple[Any, Any, Any]] = {
    "an int as float": (float, 1, 1.0),
    "a bool as int": (int, True, 1),
    "a member of a StrEnum as str": (str, Color.RED, "red"),
    "a member of an IntEnum as int": (int, Level.LOW, 1),
    "ints in a list of floats": (list[float], [1, 2.5], [1.0, 2.5]),
    "a StrEnum as a key": (dict[str, int], {Color.RED: 1}, {"red": 1}),
    "an int in a dataclass of floats": (Point, Point(1, 2), Point(1.0, 2.0)),
}


@pytest.mark.parametrize("case", AS_DECLARED)
def test_it_arrives_as_the_equal_value_of_the_declared_type(case: str) -> None:
    annotation, value, expected = AS_DECLARED[case]

    for arrived in (arrives(annotation, value), comes_back(annotation, value)):
        assert repr(arrived) == repr(expected)
        assert arrived == value


# ---- messages of the release before


@pytest.mark.parametrize(
    ("annotation", "written", "value"),
    [
        (Aliased, b'{"user_id":3}', Aliased(userId=3)),
        (Optionally, b'{"user_id":3}', Optionally(userId=3)),
        (bytes, b'"abcd"', b"abcd"),
        (File, b'{"name":"a","data":"abcd"}', File(name="a", data=b"abcd")),
        (float, b"NaN", None),
        (Order, b'{"id":"12345678-1234-5678-1234-567812345678","lines":[],"placed":"2026-01-30"}', None),
        (dt.timedelta, b'"P1DT1S"', dt.timedelta(days=1, seconds=1)),
        (Pair, b'[1,"2026-01-30"]', Pair(1, dt.date(2026, 1, 30))),
    ],
)
def test_what_the_release_before_wrote_is_read(annotation: Any, written: bytes, value: Any) -> None:
    task = task_of(annotation)

    (arrived,), _ = serializer.load_call(b"J[[" + written + b"],{}]", task)

    assert value is None or arrived == value
    assert repr(serializer.load_value(b"J" + written, task)) == repr(arrived)


def test_a_call_with_aliases_is_read_too() -> None:
    (arrived,), _ = serializer.load_call(b'J[[{"userId":3}],{}]', task_of(Optionally))

    assert arrived == Optionally(userId=3)
