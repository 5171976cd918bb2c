"""serializer="json": what can be a task with pickle can be one with JSON, or is refused when it is registered."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never, ParamSpec, TypeVar

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict, Unpack

from aiotask import App
from aiotask.errors import ConfigError, SerializationError
from aiotask.wire.serializer import serializer_named

serializer = serializer_named("json")
P = ParamSpec("P")
R = TypeVar("R")


class Item(BaseModel):
    name: str


class Options(TypedDict, total=False):
    item: Item
    size: int


def sell(shop: str, item: Item, *, count: int = 1) -> Item:
    return item


def logged(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return inner


def bare(function: Callable[P, R]) -> Callable[P, R]:
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return inner


def with_session(function: Callable[..., R]) -> Callable[..., R]:
    """Puts in an argument that the caller does not give."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> R:
        return function("session", *args, **kwargs)

    return inner


class Call:
    def __call__(self, item: Item) -> Item:
        return item


@dataclasses.dataclass
class Unhashable:
    n: int

    def __call__(self, item: Item) -> Item:
        return item


class Slotted:
    __slots__ = ()

    def __call__(self, item: Item) -> Item:
        return item


def unpacked(**options: Unpack[Options]) -> None: ...
def starred(*items: *tuple[Item, int]) -> None: ...  # type: ignore[valid-type]
def rest(*items: Item, **more: Item) -> None: ...
def positional(item: Item, /, **more: int) -> None: ...
def untyped(a, b=2, *rest, **more): ...  # type: ignore[no-untyped-def]
def never() -> Never: ...  # type: ignore[empty-body]
def generic(item: R) -> R: ...  # type: ignore[empty-body]


ITEM = Item(name="leek")

CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "a function": (sell, ("a", ITEM), {"count": 2}),
    "by keyword": (sell, (), {"item": ITEM, "shop": "a"}),
    "a partial": (functools.partial(sell, "a"), (ITEM,), {}),
    "a partial by keyword": (functools.partial(sell, count=3), ("a", ITEM), {"count": 4}),
    "a partial of a partial": (functools.partial(functools.partial(sell, "a"), count=1), (ITEM,), {}),
    "a partial of an object": (functools.partial(Call()), (ITEM,), {}),
    "an object": (Call(), (ITEM,), {}),
    "an object that cannot be hashed": (Unhashable(3), (ITEM,), {}),
    "an object without weak references": (Slotted(), (ITEM,), {}),
    "a wrapped function": (logged(sell), ("a", ITEM), {"count": 2}),
    "a wrapper without wraps": (bare(sell), ("a", 1), {"count": 2}),
    "an argument put in by a wrapper": (with_session(sell), (), {"item": ITEM}),
    "an unpacked TypedDict": (unpacked, (), {"item": ITEM, "size": 3}),
    "an unpacked TypedDict, empty": (unpacked, (), {}),
    "an unpacked tuple": (starred, (ITEM, 3), {}),
    "the rest": (rest, (ITEM, ITEM), {"one": ITEM, "return": ITEM}),
    "a name of a positional parameter as keyword": (positional, (ITEM,), {"item": 1}),
    "no annotations": (untyped, (1, [2], {"a": 3}), {"c": None}),
    "a lambda": (lambda x: x, ([1],), {}),
    "a built-in function": (math.sqrt, (2.0,), {}),
    "a built-in function without a signature": (max, (1, 2), {}),
    "a type variable": (generic, ([1],), {}),
}


@pytest.mark.parametrize("case", CALLS)
def test_its_calls_arrive(case: str) -> None:
    function, args, kwargs = CALLS[case]
    serializer.prepare("task", function, last_chance=True)

    assert serializer.load_call(serializer.dump_call((args, kwargs), function), function) == (args, kwargs)


def test_what_a_partial_or_an_object_returns_is_checked_too() -> None:
    for function in (functools.partial(sell, "a"), Call(), Unhashable(3)):
        assert serializer.load_value(serializer.dump_value(ITEM, function), function) == ITEM
    with pytest.raises(SerializationError, match=r"the value of Call\(\) \(str\) does not fit its annotation"):
        serializer.dump_value("leek", Call())
    assert serializer.load_value(serializer.dump_value(None, never), never) is None


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "reason"),
    [
        (functools.partial(sell, "a"), ("leek",), {}, r'argument "item" of sell\(\) \(str\)'),
        (Call(), ("leek",), {}, r'argument "item" of Call\(\) \(str\)'),
        (unpacked, (), {"size": "x"}, r'argument "options\.size" of unpacked\(\)|argument "options\[\'size\'\]"'),
        (unpacked, (), {"color": 1}, "'color'"),
        (starred, (ITEM, "x"), {}, r'argument "items\[1\]" of starred\(\)'),
        (rest, (ITEM, 3), {}, r'argument "items\[1\]" of rest\(\)'),
        (rest, (), {"one": 3}, r'argument "one" of rest\(\)'),
        (bare(sell), ("a", ITEM), {}, r'argument "args\[1\]" of bare.<locals>.inner\(\) \(Item\)'),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SerializationError, match=reason):
        serializer.dump_call((args, kwargs), function)


# ---- at registration


class NoJson: ...


def odd(thing: NoJson) -> None: ...
def odd_value() -> NoJson: ...  # type: ignore[empty-body]
def hidden(path: Hidden) -> None: ...  # type: ignore[name-defined]  # noqa: F821


if typing.TYPE_CHECKING:
    from pathlib import PurePath as OnlyForTypes


def for_types(path: OnlyForTypes) -> None: ...


def test_a_type_without_json_form_is_refused_at_registration() -> None:
    app = App("shop", url="memory://", serializer="json")

    with pytest.raises(
        ConfigError, match=r'Task "odd": "odd": parameter "thing" is annotated with "NoJson", which has no'
    ):
        app.register_task(odd, name="odd")
    with pytest.raises(ConfigError, match='its value is annotated with "NoJson"'):
        app.register_task(odd_value, name="odd_value")
    assert len(app.registry) == 0
    App("shop", url="memory://").register_task(odd, name="odd")


def test_a_name_that_is_imported_for_types_alone_is_refused_at_registration() -> None:
    app = App("shop", url="memory://", serializer="json")

    with pytest.raises(ConfigError, match=r'"OnlyForTypes" is not defined.*not under TYPE_CHECKING'):
        app.register_task(for_types, name="for_types")


def test_a_name_that_is_defined_later_may_be_defined_later() -> None:
    app = App("shop", url="memory://", serializer="json")

    task = app.register_task(hidden, name="hidden")
    with pytest.raises(SerializationError, match='"Hidden" is not defined'):
        task.apply_async(Path("/a"))

    globals()["Hidden"] = Path
    try:
        serializer.prepare("hidden", hidden, last_chance=True)
    finally:
        del globals()["Hidden"]


class Later(BaseModel):
    other: NotYet | None = None  # type: ignore[name-defined]  # noqa: F821


def of_later(value: Later) -> None: ...


def test_a_model_that_is_not_finished_is_no_error_at_registration() -> None:
    app = App("shop", url="memory://", serializer="json")

    app.register_task(of_later, name="of_later")
    with pytest.raises(ConfigError, match='"NotYet" is not defined'):
        serializer.prepare("of_later", of_later, last_chance=True)


class Old(typing.TypedDict):
    a: int


def of_old(value: Old) -> None: ...


def test_typing_typeddict_is_taken_where_pydantic_takes_it() -> None:
    app = App("shop", url="memory://", serializer="json")

    if sys.version_info >= (3, 12):
        app.register_task(of_old, name="of_old")
        call = ({"a": 1},), {}
        assert serializer.load_call(serializer.dump_call(call, of_old), of_old) == call
    else:
        with pytest.raises(ConfigError, match=r'"value" is annotated with "Old".*use `typing_extensions.TypedDict`'):
            app.register_task(of_old, name="of_old")


def test_an_app_that_pickles_does_not_import_pydantic(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, aiotask\n"
        "app = aiotask.App('shop', url='memory://')\n"
        "app.register_task(len, name='len').s([])\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
