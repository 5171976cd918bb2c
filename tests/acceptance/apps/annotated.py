"""Tasks of an app that writes JSON; each returns its argument, or the type of it."""

from __future__ import annotations

import datetime as dt
import functools
import os
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, Field, SecretStr, field_validator
from typing_extensions import TypedDict, Unpack

from aiotask import App

app = App(os.environ["TEST_APP"], serializer="json")


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str = "mongrel"


class User(BaseModel):
    user_id: int = Field(default=0, alias="userId")
    mail: str | None = None


class Login(BaseModel):
    password: SecretStr


class File(BaseModel):
    name: str
    data: bytes


class Euros(BaseModel):
    cents: int

    @field_validator("cents", mode="before")
    @classmethod
    def from_euros(cls, value: Any) -> int:
        return round(float(value) * 100)


class Options(TypedDict, total=False):
    size: int
    at: dt.date


@dataclass
class Adder:
    n: int

    def __call__(self, a: int) -> int:
        return a + self.n


@app.task
def kind(value) -> str:  # type: ignore[no-untyped-def]
    return type(value).__name__


@app.task
def user(value: User) -> tuple[int, list[str]]:
    return value.user_id, sorted(value.model_fields_set)


@app.task
def login(value: Login) -> str:
    return value.password.get_secret_value()


@app.task
async def same_bytes(value: bytes) -> bytes:
    return value


@app.task
def same_file(value: File) -> File:
    return value


@app.task
def of_moment(value: dt.datetime) -> str:
    return value.isoformat()


@app.task
def animal() -> Animal:
    return Dog(name="rex")


@app.task
def price() -> Euros:
    return Euros(cents=1.5)  # type: ignore[arg-type]


@app.task
def pair():  # type: ignore[no-untyped-def]
    return 1, 2


@app.task
def unpacked(**options: Unpack[Options]) -> list[str]:
    return [f"{key}: {value!r}" for key, value in options.items()]


@app.task
def missing() -> NoReturn:
    with open("/nowhere/at/all"):
        raise AssertionError


@app.task
def key() -> NoReturn:
    raise KeyError(("a", 1))


def _plus(a: int, b: int) -> int:
    return a + b


partial = app.register_task(functools.partial(_plus, 1), name="partial")
adder = app.register_task(Adder(3), name="adder")
