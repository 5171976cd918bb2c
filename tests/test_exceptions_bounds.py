"""Exceptions that refuse to be looked at, and causes that refer to each other: every job ends, soon, with an error."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, RemoteError
from aiotask.job import WIRE_VERSION, Status
from aiotask.outcome import Outcome, encode_outcome
from aiotask.wire.error_info import error_info, error_of
from aiotask.wire.serializer import serializer_named

from .workers import ROOT, Workers

PICKLE = serializer_named("cloudpickle")


# ---- classes that raise where they are looked at


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit("while it says what it is")


class Cancels(Exception):
    def __str__(self) -> str:
        raise asyncio.CancelledError


class Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Text(str):
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("not cut")

    def encode(self, *_: Any) -> Any:
        raise RuntimeError("not encoded")


class SaysText(Exception):
    def __str__(self) -> str:
        return Text("a text of its own make")


class _Unhashable(type):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("do not compare")


class Unhashable(Exception, metaclass=_Unhashable):
    pass


class Disguised(Exception):
    __class__ = property(lambda _: int)  # type: ignore[assignment]


def deep() -> Exception:
    error: Exception = ValueError("innermost")
    for _ in range(3000):
        error = ExceptionGroup("around", [error])
    return error


EVIL: dict[str, Any] = {
    kind.__name__: kind for kind in (Unreadable, Exits, Cancels, Interrupts, SaysText, Unhashable, Disguised)
} | {"deep": deep}

app = App(os.environ.get("TEST_APP", "evil"))


@app.task
async def fail(kind: str) -> None:
    error: Exception = EVIL[kind]()
    raise error


@app.task
def fail_in_line(kind: str) -> None:
    error: Exception = EVIL[kind]()
    raise error


@app.task
async def add(x: int, y: int) -> int:
    return x + y


def test_a_job_ends_whatever_it_raises_and_so_do_its_neighbours(
    workers: Workers, app_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workers.start("tests.test_exceptions_bounds", env={"TEST_APP": app_name}, app_dir=ROOT)
    here = App(app_name, url=workers.url)

    async def send() -> None:
        async with here:
            results = []
            for kind in EVIL:
                for name in ("fail", "fail_in_line"):
                    results.append(here.s(f"tests.test_exceptions_bounds:{name}", kind).apply_async())
                    results.append(here.s("tests.test_exceptions_bounds:add", 1, 2).apply_async())
            ended = await asyncio.gather(*(result.wait(30) for result in results), return_exceptions=True)
        for failed, added in zip(ended[::2], ended[1::2], strict=True):
            assert issubclass(type(failed), Exception) and type(failed).__name__ not in ("ResultTimeout", "JobLost")
            assert added == 3

    asyncio.run(send())


# ---- classes that cannot be imported


class ClientError(Exception):
    """As an SDK has it, which makes a subclass for each code that a service may answer with."""

    def __init__(self, response: dict[str, str], operation: str) -> None:
        super().__init__(f"{response['Code']} when calling {operation}")
        self.response, self.operation = response, operation

    def __reduce__(self) -> tuple[Any, ...]:
        return ClientError, (self.response, self.operation)


def test_an_exception_may_come_as_the_base_that_its_class_chooses() -> None:
    made: Any = type("NoSuchKey", (ClientError,), {"__module__": "sdk.errorfactory"})
    back = came(made({"Code": "NoSuchKey"}, "GetObject"), 2_000)
    assert type(back) is ClientError and back.response == {"Code": "NoSuchKey"}
    assert str(back) == "NoSuchKey when calling GetObject"


def test_an_exception_that_comes_as_a_built_in_base_comes_as_remote_error() -> None:
    made: Any = type("Vague", (Exception,), {"__reduce__": lambda self: (Exception, ("vague",))})
    assert isinstance(came(made("vague"), 2_000), RemoteError)


# ---- causes


def came(error: BaseException, limit: int) -> BaseException:
    info = error_info(error, "", PICKLE)
    outcome = Outcome(WIRE_VERSION, "id-1", "m:f", Status.FAILED, error=info)
    assert len(encode_outcome(outcome)) < limit
    return error_of(outcome, PICKLE)


def test_members_whose_context_is_their_group_are_sent_once() -> None:
    # As after `for each in group.exceptions: try: raise each`, in the `except` that has caught the group.
    members = [ValueError(f"{n}") for n in range(30)]
    group = ExceptionGroup("all", members)
    for member in members:
        member.__context__ = group
    back = came(group, 10_000)
    assert isinstance(back, ExceptionGroup) and [str(each) for each in back.exceptions] == [str(n) for n in range(30)]
    assert isinstance(came(members[0], 100_000).__context__, ExceptionGroup)


def test_causes_that_many_share_do_not_multiply() -> None:
    error = ValueError("first")
    for n in range(30):
        one, other = ValueError(f"cause {n}"), ValueError(f"context {n}")
        one.__cause__ = other.__cause__ = error
        error = ValueError(f"after {n}")
        error.__cause__, error.__context__, error.__suppress_context__ = one, other, False
    back = came(error, 200_000)
    assert str(back.__cause__) == "cause 29" and str(back.__context__) == "context 29"


def test_a_group_that_is_in_groups_many_times_does_not_multiply() -> None:
    error: Exception = ValueError("first")
    error.__cause__ = KeyError("why")
    for _ in range(30):
        error = ExceptionGroup("ten of one", [error] * 10)
    assert isinstance(came(error, 1_000_000), ExceptionGroup)


def test_groups_come_as_themselves_down_to_a_limit() -> None:
    back: BaseException = came(deep(), 2_000)
    depth = 0
    while isinstance(back, ExceptionGroup):
        (back,) = back.exceptions
        depth += 1
    assert depth == 50
    assert isinstance(back, RemoteError) and back.type == "builtins.ExceptionGroup" and "in 50 groups" in str(back)


def test_a_member_that_groups_of_several_depths_share_is_tried_before_them() -> None:
    class Local(Exception):
        __reduce__ = None  # type: ignore[assignment]

    inner = ExceptionGroup("inner", [Local("not sent"), ValueError("sent")])
    back = came(ExceptionGroup("outer", [inner, ExceptionGroup("around", [inner])]), 4_000)
    assert isinstance(back, ExceptionGroup)
    first, around = back.exceptions
    assert isinstance(first, ExceptionGroup) and isinstance(around, ExceptionGroup)
    assert around.exceptions == (first,)
    assert [type(each) for each in first.exceptions] == [RemoteError, ValueError]


def test_the_causes_of_all_members_together_have_a_limit() -> None:
    members = [ValueError(f"{n}") for n in range(100)]
    for member in members:
        member.__cause__ = ValueError("x" * 60_000)
    back = came(ExceptionGroup("all", members), 1_500_000)
    assert isinstance(back, ExceptionGroup)
    assert str(back.exceptions[0].__cause__) == "x" * 60_000
    last = back.exceptions[-1].__cause__
    assert last is None or isinstance(last, RemoteError)
