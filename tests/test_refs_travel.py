"""Calls and values with future values in them, in both serializers: found wherever they are, replaced where read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pydantic
import pytest

from aiotask import App, SerializationError, Unresolved
from aiotask.functions.chunks import of_items
from aiotask.ref import collecting
from aiotask.wire.serializer import Serializer, serializer_named

app = App("refs", url="memory://")


@dataclass
class Page:
    url: str
    words: dict[str, int] = field(default_factory=dict)


class Point(NamedTuple):
    x: int
    y: int


class Free(pydantic.BaseModel):
    x: Any
    rest: list[Any] = []


class Strict(pydantic.BaseModel):
    x: int


class Own:
    def __init__(self, deep: Any) -> None:
        self.deep = deep

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and self.deep == other.deep


@app.task
def one() -> int:
    return 1


def takes(value: Any, *others: Any, **named: Any) -> None: ...
def takes_ints(value: list[int]) -> list[int]:
    return value


def takes_page(page: Page, at: Point, when: datetime, data: bytes = b"") -> Page:
    return page


def takes_errors(values: list[int | Exception], note: Any = None) -> None: ...
def takes_bytes(values: list[bytes]) -> None: ...


PICKLE, JSON = serializer_named("cloudpickle"), serializer_named("json")
BOTH = pytest.mark.parametrize("serializer", [PICKLE, JSON], ids=["pickle", "json"])


def there_and_back(
    serializer: Serializer,
    function: Callable[..., Any] | None,
    *args: Any,
    values: tuple[Any, ...] = (7,),
    **kwargs: Any,
) -> Any:
    """The call as the worker has it, with these values in the places of Refs, in the order of their numbers."""
    with collecting() as found:
        body = serializer.dump_call((args, kwargs), function)
    assert len(found.refs) == len(values)
    upstream = [value if isinstance(value, Exception) else serializer.dump_value(value, None) for value in values]
    return serializer.load_call(body, function, upstream)


@BOTH
def test_a_future_value_is_found_at_any_depth(serializer: Serializer) -> None:
    ref: Any = one.s().cast

    args, kwargs = there_and_back(serializer, takes, ref, [1, ref], {"a": [{"b": [[ref, None]]}]}, named={"c": ref})

    assert (args, kwargs) == ((7, [1, 7], {"a": [{"b": [[7, None]]}]}), {"named": {"c": 7}})


@BOTH
def test_it_is_found_in_dataclasses_and_named_tuples(serializer: Serializer) -> None:
    first, second = one.s(), one.s()
    page = Page("u", {"a": first.cast, "b": 2})
    now = datetime.now(UTC)

    args, _ = there_and_back(serializer, takes_page, page, Point(second.cast, 3), now, b"x", values=(7, 8))

    assert args == (Page("u", {"a": 7, "b": 2}), Point(8, 3), now, b"x")


@BOTH
def test_it_is_found_in_a_free_field_of_a_model(serializer: Serializer) -> None:
    def takes_model(model: Free) -> None: ...

    ref: Any = one.s().cast

    (model,), _ = there_and_back(serializer, takes_model, Free(x=ref, rest=[1, ref]))

    assert model == Free(x=7, rest=[1, 7])


def test_a_concrete_field_of_a_model_refuses_it() -> None:
    with pytest.raises(pydantic.ValidationError, match="valid integer"):
        Strict(x=one.s().cast)


def test_pickle_finds_it_in_objects_of_any_class() -> None:
    ref: Any = one.s().cast

    args, _ = there_and_back(PICKLE, takes, Own({"k": (ref, [ref])}))

    assert args == (Own({"k": (7, [7])}),)


def test_cloudpickle_finds_it_beside_a_lambda() -> None:
    ref: Any = one.s().cast

    (function, value), _ = there_and_back(PICKLE, takes, lambda: 3, ref)

    assert (function(), value) == (3, 7)


@BOTH
def test_data_that_looks_like_one_stays_data(serializer: Serializer) -> None:
    ref: Any = one.s().cast
    lookalikes = [[[0, 0], 0], {"path": [0, 0], "number": 0}, None, "<the future value of one>", [[[0, 1], 0]]]

    args, _ = there_and_back(serializer, takes, ref, lookalikes)

    assert args == (7, lookalikes)


@BOTH
def test_several_and_settled_ones_keep_their_numbers(serializer: Serializer) -> None:
    first, second = one.s(), one.s()
    error = ValueError("no")

    args, _ = there_and_back(serializer, takes_errors, [second.settled, first.cast, second.settled], values=(error, 2))

    (values,) = args
    assert values == [error, 2, error] and values[0] is error


def test_json_validates_the_whole_with_the_values_in_it() -> None:
    ref: Any = one.s().cast

    args, _ = there_and_back(JSON, takes_ints, [1, ref])
    assert args == ([1, 7],)
    with pytest.raises(SerializationError, match=r'"value\[1\]" of takes_ints\(\).*does not fit'):
        there_and_back(JSON, takes_ints, [1, ref], values=("text",))
    data, _ = there_and_back(JSON, takes_bytes, [ref, b"\xff"], values=("a",))
    assert data == ([b"a", b"\xff"],)


def test_json_refuses_beside_one_what_it_refuses_alone() -> None:
    ref: Any = one.s().cast

    with collecting(), pytest.raises(SerializationError, match='argument "value'):
        JSON.dump_call((([ref, {1, 2}],), {}), takes)
    with collecting(), pytest.raises(SerializationError, match='argument "#1'):
        JSON.dump_call((([ref, {1, 2}],), {}), None)


def test_json_by_name_carries_it_too() -> None:
    ref: Any = one.s().cast
    with collecting():
        body = JSON.dump_call(((1, [ref]), {"k": ref}), None)

    assert JSON.load_call(body, takes, [b"J7"]) == ((1, [7]), {"k": 7})


@BOTH
def test_a_call_without_one_is_written_as_ever(serializer: Serializer) -> None:
    call = ((1, [2], {"a": None}), {"b": "c"})
    with collecting() as found:
        collected = serializer.dump_call(call, takes)

    assert not found.refs and collected == serializer.dump_call(call, takes)
    assert serializer.load_call(collected, takes) == call


@BOTH
def test_elsewhere_it_is_refused_before_anything_else_is_tried(serializer: Serializer) -> None:
    ref: Any = one.s().cast

    with pytest.raises(Unresolved, match="test_refs_travel:one"):
        serializer.dump_call((([ref],), {}), takes)
    with pytest.raises(Unresolved, match="cannot be serialized here"):
        serializer.dump_value({"a": Page("u", {"b": ref})}, None)


@BOTH
def test_a_value_may_hold_them(serializer: Serializer) -> None:
    first, second = one.s(), one.s()
    with collecting() as found:
        body = serializer.dump_value([first.cast, 5, second.cast], takes_ints)
        alone = serializer.dump_value(first.cast, one.func)

    assert found.upstream == [first.id, second.id]
    upstream = [serializer.dump_value(value, None) for value in (1, 2)]
    assert serializer.load_value(body, takes_ints, upstream) == [1, 5, 2]
    assert serializer.load_value(alone, one.func, upstream) == 1


def test_a_value_is_read_once_and_when_it_is_met() -> None:
    shared = one.s()
    with collecting():
        body = PICKLE.dump_call((([shared.cast, shared.cast],), {}), takes)

    (values,), _ = PICKLE.load_call(body, takes, [PICKLE.dump_value(["a"], None), b"no pickle at all"])

    assert values == [["a"], ["a"]] and values[0] is values[1]


def test_an_exception_travels_as_an_argument_of_pickle() -> None:
    ref: Any = one.s().settled
    error = LookupError("shown")

    args, _ = there_and_back(PICKLE, takes, ref, values=(error,))

    assert args[0] is error


def test_the_function_of_a_chunk_takes_and_returns_lists() -> None:
    def double(n: int) -> list[str]:
        return [str(n)]

    chunk = of_items(double)

    assert of_items(double) is chunk
    body = JSON.dump_call((([1, 2],), {}), chunk)
    assert JSON.load_call(body, chunk) == (([1, 2],), {})
    with pytest.raises(SerializationError):
        JSON.dump_call(((["a"],), {}), chunk)
    assert JSON.load_value(JSON.dump_value([["1"], ["2"]], chunk), chunk) == [["1"], ["2"]]
