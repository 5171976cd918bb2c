"""serializer="json": exceptions come back as they were raised, or as RemoteError; never as another error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiotask.errors import JobTimeout, WorkerLost
from aiotask.wire.serializer import serializer_named

serializer = serializer_named("json")


def raised(function: Any) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def noted() -> ValueError:
    error = ValueError("a")
    error.add_note("look at b")
    return error


COMES_BACK: dict[str, BaseException] = {
    "text": ValueError("a"),
    "no arguments": ValueError(),
    "several arguments": ValueError(1, "a", None, 2.5, [1, {"a": 2}]),
    "a key that is a tuple": KeyError(("a", 1)),
    "tuples in tuples": ValueError((1, (2, [(3,)])), {"a": (4,)}),
    "bytes": ValueError(b"\xff", (b"a",)),
    "a file that is not there": raised(lambda: Path("/nowhere/at/all").read_text()),
    "a folder": raised(lambda: Path("/").read_text()),
    "two file names": FileExistsError(17, "File exists", "/a", None, "/b"),
    "an OSError of text alone": OSError("disk is full"),
    "text that is no UTF-8": raised(lambda: b"\xff".decode()),
    "text that is no ASCII": raised(lambda: "é".encode("ascii")),
    "a module that is not there": raised(lambda: __import__("no_such_module")),
    "a name that is not there": raised(lambda: eval("no_such_name")),
    "an attribute that is not there": raised(lambda: (1).no_such_attribute),  # type: ignore[attr-defined]
    "a division by zero": raised(lambda: 1 // 0),
    "a syntax error": raised(lambda: compile("a b", "f.py", "exec")),
    "notes": noted(),
    "an error of ours": JobTimeout("too long"),
    "an error of ours with attributes": WorkerLost("it died", 9, None, 1_000, "stack", "stderr"),
}


@pytest.mark.parametrize("case", COMES_BACK)
def test_it_comes_back_as_it_was_raised(case: str) -> None:
    error = COMES_BACK[case]

    body = serializer.dump_error(error)

    assert body is not None
    back = serializer.load_error(body)
    assert type(back) is type(error)
    assert back.args == error.args and repr(back.args) == repr(error.args)
    assert str(back) == str(error)
    for name in ("filename", "filename2", "errno", "name", "path", "lineno", "object", "__notes__", "signal"):
        if name != "object" or isinstance(error, UnicodeError):
            assert getattr(back, name, None) == getattr(error, name, None), name


class Own(Exception): ...


class Masked(ValueError): ...


class Evil:
    def __reduce__(self) -> Any:
        raise SystemExit(3)

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


REMOTE: dict[str, BaseException] = {
    "a class of the task's module": Own("a"),
    "a subclass of a built-in one": Masked("a"),
    "an object": ValueError(object()),
    "a set": ValueError({1}),
    "int keys": ValueError({1: 2}),
    "an object that ends the program": ValueError(Evil()),
    "a group of errors": ExceptionGroup("two", [ValueError("a")]),
    "half a pair": ValueError("\ud800"),
}


@pytest.mark.parametrize("case", REMOTE)
def test_it_travels_as_text_where_it_would_come_back_as_something_else(case: str) -> None:
    assert serializer.dump_error(REMOTE[case]) is None


def test_errors_with_plain_arguments_are_written_as_the_release_before_reads_them() -> None:
    assert serializer.dump_error(ValueError("a", 1)) == b'J["builtins","ValueError",["a",1]]'
    assert type(serializer.load_error(b'J["builtins","KeyError",["a"]]')) is KeyError


def test_no_class_outside_the_built_in_ones_is_made() -> None:
    with pytest.raises(Exception, match="is not an exception that may be built from JSON"):
        serializer.load_error(b'J["subprocess","CalledProcessError",[1,"x"]]')
