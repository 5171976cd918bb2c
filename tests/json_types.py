"""Types with which the JSON serializer is tried, and the way of a value from one side to the other."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple
from uuid import UUID, uuid4

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict

from aiotask.wire.serializer import serializer_named

serializer = serializer_named("json")
AT = dt.datetime(2026, 1, 30, 12, 30, tzinfo=dt.UTC)


def task_of(annotation: Any) -> Any:
    def task(value): ...  # type: ignore[no-untyped-def]

    if annotation is not Ellipsis:
        task.__annotations__ = {"value": annotation, "return": annotation}
    task.__qualname__ = "task"
    return task


def arrives(annotation: Any, value: Any) -> Any:
    """What the task gets for this argument; Ellipsis: without an annotation."""
    task = task_of(annotation)
    (arrived,), kwargs = serializer.load_call(serializer.dump_call(((value,), {}), task), task)
    assert kwargs == {}
    return arrived


def comes_back(annotation: Any, value: Any) -> Any:
    task = task_of(annotation)
    return serializer.load_value(serializer.dump_value(value, task), task)


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str = "mongrel"


class Cat(Animal):
    kind: Literal["cat"] = "cat"


class Bird(Animal):
    kind: Literal["bird"] = "bird"


class One(BaseModel):
    x: int


class Two(BaseModel):
    x: int


class Line(BaseModel):
    article: str
    price: Decimal
    note: str | None = None


class Order(BaseModel):
    id: UUID = Field(default_factory=uuid4)
    lines: list[Line] = []
    placed: dt.date = dt.date(2026, 1, 30)


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")


class Optionally(BaseModel):
    user_id: int = Field(default=0, alias="userId")


class ManyNames(BaseModel):
    user_id: int = Field(validation_alias=AliasChoices("userId", "uid"), serialization_alias="USER")
    mail: str = Field(default="", serialization_alias="e-mail")


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")
    user_id: int = Field(alias="userId")


class Area(BaseModel):
    model_config = ConfigDict(extra="forbid")
    w: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.w


class Holder(BaseModel):
    data: Json[list[int]]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: dt.datetime
    pair: tuple[int, str]
    size: Decimal


class Patch(BaseModel):
    name: str | None = None
    mail: str | None = None
    tags: list[str] = Field(default_factory=list)


class File(BaseModel):
    name: str
    data: bytes


class OwnBytes(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Noted(BaseModel):
    text: str
    _seen: int = PrivateAttr(default=0)


class Numbers(BaseModel):
    a: float
    b: float | None = None


class Names(RootModel[list[str]]): ...


class Tree(BaseModel):
    children: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Point3(Point):
    z: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    data: bytes


@dataclasses.dataclass(eq=False)
class Unequal:
    x: int


class Pair(NamedTuple):
    left: int
    right: dt.date


class Options(TypedDict, total=False):
    size: int
    at: dt.date


class Temperature:
    """A class of its own JSON form, compared by identity."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda given: given if isinstance(given, cls) else cls(given),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda self: self.degrees),
        )


class Array(Temperature):
    """As arrays do: compared item by item, with no answer as a whole."""

    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


# ---- what does not come back as it was


class Login(BaseModel):
    password: SecretStr


class Hidden(BaseModel):
    a: int = Field(exclude=True)


class HiddenWithDefault(BaseModel):
    a: int = Field(default=0, exclude=True)
    b: int = 0


class Euros(BaseModel):
    cents: int

    @field_validator("cents", mode="before")
    @classmethod
    def from_euros(cls, value: Any) -> int:
        return round(float(value) * 100)


class Shouted(BaseModel):
    text: str

    @field_serializer("text")
    def shout(self, text: str) -> str:
        return text.upper()


class Wide(BaseModel):
    price: Decimal

    @field_serializer("price")
    def grouped(self, price: Decimal) -> str:
        return f"{price:,}"


class Crashing(BaseModel):
    n: int

    #: How often the validator ran; it works once, where the object is made.
    runs: ClassVar[list[int]] = []

    @field_validator("n")
    @classmethod
    def crash(cls, value: int) -> int:
        cls.runs.append(value)
        if len(cls.runs) > 1:
            raise ZeroDivisionError("in the user's code")
        return value


class Swapped(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Shop(BaseModel):
    animals: list[Animal]
