"""serializer="json": text and numbers of the user's own classes, where an annotation names plain ones beside them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from aiotask import SerializationError

from .json_types import Color, Level, arrives, comes_back, serializer, task_of


class Paint(BaseModel):
    color: Color | str
    level: Level | int = 0


@dataclasses.dataclass
class Coat:
    color: str | Color


class Marked(str):
    """Text with an attribute."""

    def __new__(cls, text: str, mark: str) -> Marked:
        self = super().__new__(cls, text)
        self.mark = mark
        return self

    mark: str


class Shouted(str):
    """Text without any."""


WOULD_BE_PLAIN: dict[str, tuple[Any, Any, str]] = {
    "a member or text": (Color | str, Color.RED, "value"),
    "text or a member": (str | Color, Color.RED, "value"),
    "a member or a number": (Level | int, Level.LOW, "value"),
    "a member, or a Literal of its text": (Literal["red"] | Color, Color.RED, "value"),
    "in a list": (list[Color | str], ["blue", Color.RED], "value[1]"),
    "in a set": (set[Color | str], {Color.RED}, "value"),
    "in a model": (Paint, Paint(color=Color.RED), "value.color"),
    "a number in a model": (Paint, Paint(color="blue", level=Level.LOW), "value.level"),
    "in a dataclass": (Coat, Coat(Color.RED), "value.color"),
    "text with attributes": (str, Marked("a", "b"), "value"),
}


@pytest.mark.parametrize("case", WOULD_BE_PLAIN)
def test_what_would_arrive_as_plain_text_or_a_number_is_refused(case: str) -> None:
    annotation, value, path = WOULD_BE_PLAIN[case]

    for way in (arrives, comes_back):
        with pytest.raises(SerializationError) as refused:
            way(annotation, value)
        said = str(refused.value)
        assert "in place of" in said or 'would arrive as "' in said
        assert (f'"{path}"' if way is arrives else path.removeprefix("value").removeprefix(".")) in said


ARRIVES: dict[str, tuple[Any, Any]] = {
    "text beside an enum": (Color | str, "blue"),
    "a member of a Literal beside text": (Literal[Color.RED] | str, Color.RED),
    "text that equals a member": (Color | str, "red"),
    "a member of an enum": (Color, Color.RED),
    "an optional member": (Color | None, Color.RED),
    "a member in a model": (Paint, Paint(color="blue", level=7)),
}


@pytest.mark.parametrize("case", ARRIVES)
def test_what_is_told_apart_arrives(case: str) -> None:
    annotation, value = ARRIVES[case]

    for arrived in (arrives(annotation, value), comes_back(annotation, value)):
        assert repr(arrived) == repr(value)


def test_members_and_text_subclasses_still_arrive_as_the_declared_text() -> None:
    assert type(arrives(str, Color.RED)) is str
    assert type(arrives(str, Shouted("a"))) is str


BY_NAME: dict[str, tuple[Any, Any]] = {
    "a member or text": (Color | str, Color.RED),
    "a member or a number": (Level | int, Level.LOW),
    "in a list": (list[Color | str], ["blue", Color.RED]),
    "in a model": (Paint, {"color": Color.RED}),
}


@pytest.mark.parametrize("case", BY_NAME)
def test_a_call_by_name_says_that_a_member_arrived_as_plain_text_or_a_number(case: str) -> None:
    annotation, value = BY_NAME[case]
    body = serializer.dump_call(((value,), {}), None)

    with pytest.raises(SerializationError, match=r'sent by name as "(Color|Level)" but arrived as "(str|int)"'):
        serializer.load_call(body, task_of(annotation))


def test_a_call_by_name_refuses_text_with_attributes_where_it_is_sent() -> None:
    with pytest.raises(SerializationError, match=r"\(Marked\).*without its attributes"):
        serializer.dump_call((([Marked("a", "b")],), {}), None)
    assert serializer.load_call(serializer.dump_call(((Shouted("a"),), {}), None), task_of(str)) == (("a",), {})
