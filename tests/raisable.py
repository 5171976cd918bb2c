"""Exceptions of every make: of the standard library, of packages, and such as users write."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import dataclasses
import decimal
import json
import os
import smtplib
import socket
import sqlite3
import subprocess
import threading
import urllib.error
import xml.parsers.expat
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, NoReturn

import django.core.exceptions
import httpx
import pydantic
import redis.exceptions
import starlette.exceptions

#: How often constructors with a side effect ran in this process.
MADE: list[str] = []


# ---- users' own: constructors that pickle's `cls(*args)` does not suit


class MakesItsText(Exception):
    def __init__(self, what: str, code: int | None = None) -> None:
        super().__init__(f"cannot open {what} (code {code})")
        self.code = code


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NoSuper(Exception):
    def __init__(self, code: int, *, detail: str) -> None:
        self.code, self.detail = code, detail

    def __str__(self) -> str:
        return f"{self.code}/{self.detail}"


class Counted(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        MADE.append(text)


class Slotted(Exception):
    __slots__ = ("__hidden", "code")

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.__hidden = code + 1

    def hidden(self) -> int:
        return self.__hidden


class SlottedBelow(Slotted):
    __slots__ = ("more",)

    def __init__(self) -> None:
        super().__init__("slots of a base, too", code=3)
        self.more = ["a"]


class OwnNew(Exception):
    def __new__(cls, code: int, text: str) -> OwnNew:
        made = super().__new__(cls, code, text)
        made.seen = True  # type: ignore[attr-defined]
        return made

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")


class Opening(OSError):
    """Has its text in args and a file name that it sets by itself."""

    def __init__(self, path: str) -> None:
        super().__init__(f"cannot open {path}")
        self.filename = path
        self.errno = 13


class Missing(FileNotFoundError):
    def __init__(self, path: str, *, tries: int) -> None:
        super().__init__(2, "gone", path)
        self.tries = tries


class Decoding(UnicodeDecodeError):
    def __init__(self, row: int) -> None:
        super().__init__("utf-8", b"\xff", 0, 1, "no text")
        self.row = row


class ClientError(Exception):
    """As SDKs have them: text from a template, the response as an attribute."""

    TEMPLATE = "An error occurred ({code}) when calling the {operation} operation: {text}"

    def __init__(self, response: dict[str, Any], operation: str) -> None:
        known = response.get("Error", {})
        super().__init__(
            self.TEMPLATE.format(code=known.get("Code", "?"), text=known.get("Message", "?"), operation=operation)
        )
        self.response = response
        self.operation = operation


class OwnReduce(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return _own_reduce, (self.code,)


def _own_reduce(code: int) -> OwnReduce:
    made = OwnReduce(code=code)
    made.came = True  # type: ignore[attr-defined]
    return made


class OwnState(Exception):
    """Holds what cannot be pickled, and leaves it out by itself."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code, self.lock = code, threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"code": self.code}

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        assert state is not None
        self.code, self.lock = state["code"], threading.Lock()


# ---- users' own: such as let nothing be set


@dataclasses.dataclass(frozen=True)
class Closed(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    text: str = "frozen"


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int = 0


@dataclasses.dataclass(eq=True)
class Unhashable(Exception):
    code: int


class Guarded(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is read-only")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(name)


class OwnNote(Exception):
    def add_note(self, note: str) -> NoReturn:
        raise RuntimeError("no notes here")

    def with_traceback(self, trace: Any) -> NoReturn:
        raise RuntimeError("no traceback here")


class Touchy(Exception):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare")

    def __hash__(self) -> int:
        raise RuntimeError("do not hash")

    def __bool__(self) -> bool:
        raise RuntimeError("do not ask")


class Empty(Exception):
    def __len__(self) -> int:
        return 0


class OwnProperty(Exception):
    def __init__(self, code: int) -> None:
        super().__init__("a property in the way of its own attribute")
        self.__dict__["code"] = code

    @property
    def code(self) -> int:
        return int(self.__dict__["code"])


class OwnGroup(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception], code: int) -> OwnGroup:
        made = super().__new__(cls, f"exit code {code}", errors)
        made.code = code  # type: ignore[attr-defined]
        return made


# ---- such as cannot be sent


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class ChangesItself(Exception):
    """Comes back from its own __reduce__ with another text."""

    def __init__(self, text: str) -> None:
        super().__init__(f"<{text}>")

    def __reduce__(self) -> tuple[Any, ...]:
        return ChangesItself, (str(self),)


class BecomesAnother(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return ValueError, ("another",)


def _raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        error.__traceback__ = None
        return error
    raise AssertionError("It raised nothing.")


def _status_error() -> BaseException:
    request = httpx.Request("GET", "https://example.org/a")
    response = httpx.Response(404, request=request, headers={"x-a": "b"}, content=b"gone")
    return _raised(response.raise_for_status)


class Model(pydantic.BaseModel):
    number: int


def _integrity() -> None:
    with sqlite3.connect(":memory:") as base:
        base.execute("create table t (a integer primary key)")
        base.execute("insert into t values (1)")
        try:
            base.execute("insert into t values (1)")
        finally:
            base.close()


def _with_attributes(error: BaseException, **attributes: object) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


#: Exceptions that arrive as what they are, by name.
OURS: dict[str, Callable[[], BaseException]] = {
    "makes its text": lambda: MakesItsText("a.txt", 5),
    "two arguments": lambda: TwoArguments(3, "three"),
    "keyword only": lambda: KeywordOnly(code=4),
    "no super": lambda: NoSuper(5, detail="five"),
    "slots": lambda: Slotted("x", code=7),
    "slots below": SlottedBelow,
    "own new": lambda: OwnNew(1, "one"),
    "OSError with its own text": lambda: Opening("/x"),
    "FileNotFoundError with keywords": lambda: Missing("/y", tries=3),
    "UnicodeDecodeError below": lambda: Decoding(8),
    "client error": lambda: ClientError({"Error": {"Code": "404", "Message": "no"}}, "GetObject"),
    "own reduce": lambda: _own_reduce(9),
    "closed": Closed,
    "frozen": lambda: Frozen(3),
    "frozen slots": lambda: FrozenSlots(4),
    "unhashable": lambda: Unhashable(5),
    "guarded": lambda: Guarded("guarded"),
    "own note": lambda: OwnNote("noted"),
    "touchy": lambda: Touchy("touched"),
    "false": lambda: Empty("empty"),
    "own property": lambda: OwnProperty(6),
    "attributes added": lambda: _with_attributes(ValueError("x"), code=1, more=[2]),
    "args changed": lambda: _with_attributes(MakesItsText("b"), args=("changed", 2)),
    "own group": lambda: OwnGroup([ValueError("a"), MakesItsText("b")], 4),
    "group in group": lambda: ExceptionGroup("g", [Frozen(1), ExceptionGroup("h", [Slotted("s", 2)])]),
}
THEIRS: dict[str, Callable[[], BaseException]] = {
    "KeyError": lambda: KeyError(("a", 1)),
    "StopIteration in args": lambda: ValueError(StopIteration(3)),
    "OSError": lambda: OSError(5, "io"),
    "FileNotFoundError": lambda: _raised(lambda: os.stat("/no/such/file")),
    "two file names": lambda: _raised(lambda: os.rename("/no/such/file", "/nor/such")),
    "BlockingIOError": lambda: BlockingIOError(11, "again", 5),
    "UnicodeDecodeError": lambda: _raised(b"\xff".decode),
    "UnicodeEncodeError": lambda: _raised(lambda: "\ud800".encode()),
    "SyntaxError": lambda: _raised(lambda: compile("a b", "x.py", "exec")),
    "ImportError": lambda: ImportError("no", name="a.b", path="/a/b.py"),
    "ModuleNotFoundError": lambda: _raised(lambda: __import__("no_such_module_at_all")),
    "AttributeError": lambda: _raised(lambda: (3).nothing),  # type: ignore[attr-defined]
    "NameError": lambda: NameError("no", name="x"),
    "JSONDecodeError": lambda: _raised(lambda: json.loads("{a")),
    "CalledProcessError": lambda: subprocess.CalledProcessError(returncode=3, cmd=["a"], output=b"o", stderr=b"e"),
    "TimeoutExpired": lambda: subprocess.TimeoutExpired(cmd="a", timeout=2.5, output=b"o"),
    "IncompleteReadError": lambda: asyncio.IncompleteReadError(b"ab", 5),
    "gaierror": lambda: socket.gaierror(-2, "unknown"),
    "URLError": lambda: urllib.error.URLError(OSError(111, "refused"), "file"),
    "SMTPRecipientsRefused": lambda: smtplib.SMTPRecipientsRefused({"a@b": (550, b"no")}),
    "SMTPResponseException": lambda: smtplib.SMTPResponseException(500, "no"),
    "MissingSectionHeaderError": lambda: configparser.MissingSectionHeaderError("a.ini", 3, "x"),
    "ExpatError": lambda: _raised(lambda: xml.parsers.expat.ParserCreate().Parse("<", True)),
    "InvalidOperation": lambda: _raised(lambda: decimal.Decimal("x")),
    "BrokenProcessPool": lambda: BrokenProcessPool("broken"),
    "sqlite3": lambda: _raised(_integrity),
    "httpx.HTTPStatusError": _status_error,
    "httpx.ConnectError": lambda: httpx.ConnectError("no", request=httpx.Request("GET", "https://example.org")),
    "starlette": lambda: starlette.exceptions.HTTPException(status_code=404, detail="gone", headers={"a": "b"}),
    "starlette websocket": lambda: starlette.exceptions.WebSocketException(code=1008, reason="policy"),
    "Django": lambda: django.core.exceptions.ValidationError("%(n)s is bad", code="bad", params={"n": 3}),
    "Django, by field": lambda: django.core.exceptions.ValidationError({"a": ["one", "two"]}),
    "pydantic": lambda: _raised(lambda: Model(number="x")),  # type: ignore[arg-type]
    "redis": lambda: redis.exceptions.ResponseError("WRONGTYPE"),
}
SENT = OURS | THEIRS
#: Exceptions that cannot arrive as what they are.
UNSENT: dict[str, Callable[[], Exception]] = {
    "holds a lock": lambda: HoldsALock("locked"),
    "changes itself": lambda: ChangesItself("text"),
    "becomes another": lambda: BecomesAnother("me"),
    "lock in args": lambda: ValueError(threading.Lock()),
}


def describe(error: BaseException) -> dict[str, str]:
    """Whatever an exception holds, readable and comparable: attributes, slots, and what built-in classes keep."""
    if isinstance(error, pydantic.ValidationError):
        # Its own way of being pickled changes its args, which say nothing.
        return {"errors": repr(error.errors())}
    found = {name: repr(value) for name, value in vars(error).items() if name not in ("__notes__", "lock")}
    for base in type(error).__mro__:
        for name, field in vars(base).items():
            if type(field) in _FIELDS and not name.startswith("__") and (base, name) != (AttributeError, "obj"):
                with contextlib.suppress(AttributeError):
                    found[name] = repr(field.__get__(error))
    return found | {"args": repr(error.args)}


_FIELDS = (MemberDescriptorType, GetSetDescriptorType)
