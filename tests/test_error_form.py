"""Exceptions as bytes and as outcomes: what other processes read, and what stays as it was."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import pathlib
import pickle
import pickletools
import subprocess
import sys
import uuid
from typing import Any

import msgspec
import pytest

from aiotask import App, BrokerError, RemoteError
from aiotask.errors import JobTimeout, ResultTimeout
from aiotask.job import WIRE_VERSION, Status
from aiotask.outcome import ErrorInfo, Outcome, decode_outcome, encode_outcome
from aiotask.wire.error_form import add_note, copy_error
from aiotask.wire.error_info import error_info, error_of
from aiotask.wire.serializer import serializer_named

from .raisable import SENT, Frozen, MakesItsText, Slotted, describe

PICKLE = serializer_named("cloudpickle")


# ---- the bytes


@pytest.mark.parametrize("kind", SENT)
def test_the_bytes_are_a_plain_pickle_that_names_nothing_of_aiotask(kind: str) -> None:
    error = SENT[kind]()
    body = PICKLE.dump_error(error)
    assert body is not None and body[:1] == b"P"
    # As the release before reads it.
    came = pickle.loads(body[1:])
    assert type(came) is type(error) and describe(came) == describe(error)
    named = {argument for _, argument, _ in pickletools.genops(body[1:]) if isinstance(argument, str)}
    assert not [name for name in named if name.startswith("aiotask")]


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        1,
        "ends in R",
        {"a": [1.5, None, b"\x93R\x94"], "b": 147},
        {"__main__": 1},
        datetime.datetime.now(datetime.UTC),
        [uuid.uuid4(), decimal.Decimal("1.5"), pathlib.PurePath("a"), Colour.RED],
        [datetime.datetime.now(), b"\x93"],
        (ValueError, "the class itself"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_exceptions_is_pickled_as_ever(value: Any) -> None:
    assert PICKLE.dump_value(value, None) == b"P" + pickle.dumps(value, 5)


def test_an_exception_is_found_however_its_class_is_named_in_the_bytes() -> None:
    error = MakesItsText("a", 1)
    kind = type(error)
    for value in (
        {"module": kind.__module__, "name": kind.__qualname__, "error": error},
        [b"\x93" * 200_000, {"deep": ({"er": error},)}],
        [Slotted("a", 2), Slotted("b", 3), error],
    ):
        came = PICKLE.load_value(PICKLE.dump_value(value, None), None)
        assert "cannot open a (code 1)" in repr(came) and "cannot open cannot" not in repr(came)


def test_an_exception_of_a_script_goes_by_value_with_all_that_it_holds(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from aiotask.wire.serializer import serializer_named\n"
        "class Mine(Exception):\n"
        "    __slots__ = ('more',)\n"
        "    def __init__(self, a, b):\n"
        "        super().__init__(f'{a}-{b}')\n"
        "        self.a, self.more = a, b\n"
        "error = Mine(1, 2)\n"
        "print(serializer_named('cloudpickle').dump_error(error).hex())\n"
    )
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    body = bytes.fromhex(printed)
    assert body[:1] == b"C"
    came = PICKLE.load_error(body)
    assert (type(came).__name__, str(came), came.a, came.more) == ("Mine", "1-2", 1, 2)


# ---- outcomes


class OldErrorInfo(msgspec.Struct, frozen=True, array_like=True):
    """As the first release has it."""

    type: str
    message: str
    traceback: str = ""
    body: bytes | None = None


def outcome_with(info: ErrorInfo) -> Outcome:
    return Outcome(WIRE_VERSION, "id-1", "shop:sell", Status.FAILED, worker="host.1", error=info)


def test_the_release_before_reads_an_error_and_this_one_reads_its() -> None:
    error = Frozen(3)
    BaseException.__dict__["__cause__"].__set__(error, KeyError("why"))
    info = error_info(error, "trace", PICKLE)
    assert info.cause is not None
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(info), type=OldErrorInfo)
    assert (old.type, old.message, old.traceback, old.body) == (info.type, info.message, "trace", info.body)
    new = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=ErrorInfo)
    came = error_of(outcome_with(new), PICKLE)
    assert type(came) is Frozen and came.__cause__ is None
    whole = error_of(decode_outcome(encode_outcome(outcome_with(info))), PICKLE)
    assert isinstance(whole.__cause__, KeyError)


def test_a_cause_whose_class_is_not_here_leaves_the_error_as_it_is() -> None:
    info = error_info(ValueError("x"), "", PICKLE)
    body = b"P" + pickle.dumps(KeyError("k"), 5).replace(b"KeyError", b"NoErrors")
    gone = ErrorInfo("far.Away", "gone", "", body)
    came = error_of(outcome_with(msgspec.structs.replace(info, cause=gone, suppressed=True)), PICKLE)
    assert type(came) is ValueError
    assert isinstance(came.__cause__, RemoteError) and came.__cause__.type == "far.Away"
    assert "because it cannot be read here: AttributeError" in str(came.__cause__)


def test_a_long_chain_and_a_large_cause_do_not_make_the_outcome_large() -> None:
    error: Exception = ValueError("first")
    for n in range(100):
        after = ValueError(f"{n}")
        after.__cause__, error = error, after
    info = error_info(error, "", PICKLE)
    depth = 0
    while info.cause is not None:
        info, depth = info.cause, depth + 1
    assert depth == 10
    error.__cause__ = ValueError("x" * 1_000_000)
    info = error_info(error, "", PICKLE)
    assert len(encode_outcome(outcome_with(info))) < 20_000
    came = error_of(outcome_with(info), PICKLE)
    assert isinstance(came.__cause__, RemoteError) and "because it has 1,000" in str(came.__cause__)


def test_a_ring_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    came = error_of(outcome_with(error_info(one, "", PICKLE)), PICKLE)
    assert str(came.__cause__) == "other"


@pytest.mark.parametrize("serializer", ["cloudpickle", "json"])
@pytest.mark.parametrize(
    ("error", "job", "is_remote"),
    [
        (ResultTimeout("not yet"), "", True),
        (JobTimeout("late"), "id-2", False),
        (JobTimeout("late"), "id-1", False),
        (JobTimeout("late"), "", False),
    ],
    ids=["a wait", "another's limit", "its own limit", "raised by hand"],
)
def test_which_job_an_error_is_about_is_kept(error: Any, job: str, is_remote: bool, serializer: str) -> None:
    error.job_id = job
    made = serializer_named(serializer)
    came: Any = error_of(outcome_with(error_info(error, "", made, "id-1")), made)
    assert isinstance(came, RemoteError) is is_remote
    assert came.job_id == (job or "id-1")
    if is_remote:
        assert came.type == f"aiotask.errors.{type(error).__name__}"
        assert type(came.__cause__) is type(error) and came.__cause__.job_id == job


# ---- notes and copies


def test_a_note_is_added_to_what_is_there() -> None:
    error = ValueError("x")
    error.add_note("one")
    add_note(error, "two")
    assert error.__notes__ == ["one", "two"]
    error.__notes__ = ("one",)  # type: ignore[assignment]
    add_note(error, "two")
    assert error.__notes__ == ["one", "two"]


@pytest.mark.parametrize("kind", SENT)
def test_a_copy_is_another_object_with_the_same_state(kind: str) -> None:
    error = SENT[kind]()
    assert isinstance(error, Exception)
    cause = KeyError("cause")
    BaseException.__dict__["__cause__"].__set__(error, cause)
    copy = copy_error(error)
    assert copy is not error and type(copy) is type(error)
    assert (str(copy), describe(copy)) == (str(error), describe(error))
    assert copy.__cause__ is cause and copy.__suppress_context__ and copy.__traceback__ is None


class Refusal(BrokerError):
    """As a broker of another technology may have it."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"refused with {code}")
        self.code, self.hint = code, hint


async def test_what_a_broker_refuses_with_is_raised_anew_for_each_who_waits(
    app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(app_name, url="memory://")

    @app.task
    def nothing() -> None: ...

    async with app:
        broker = app.client.session().broker

        async def refuse(*args: Any, **kwargs: Any) -> None:
            raise Refusal(3, hint="later")

        monkeypatch.setattr(broker, "push", refuse)
        result = nothing.apply_async()
        raised = await asyncio.gather(result.sent(), result.sent(), return_exceptions=True)
    assert [(type(error), str(error), error.code, error.hint) for error in raised] == [  # type: ignore[union-attr]
        (Refusal, "refused with 3", 3, "later")
    ] * 2
    assert raised[0] is not raised[1]
