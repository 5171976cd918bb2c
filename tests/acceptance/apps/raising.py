"""Tasks that raise, return and take exceptions, and let out errors about other jobs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiotask import App, Interrupted

from ...raisable import MADE, SENT, UNSENT, ChangesItself, Counted, Frozen, HoldsALock, MakesItsText, OwnState, describe

app = App(os.environ["TEST_APP"])


@app.task
def fail(kind: str) -> None:
    raise SENT[kind]()


@app.task
async def afail(kind: str) -> None:
    raise SENT[kind]()


@app.task
def give(kind: str) -> Any:
    """The exception as a value, at several depths."""
    error = SENT[kind]()
    return {"it": error, "again": [error], "other": (SENT[kind](),)}


@app.task
def take(error: Any, *, more: Any) -> Any:
    """What arrives of an exception as an argument, for the sender to compare."""
    return [(type(each).__qualname__, str(each), describe(each)) for each in (error, *more)]


@app.task
def count(text: str) -> int:
    raise Counted(text)


@app.task
def counted() -> list[str]:
    return MADE


@app.task
def fail_unsent(kind: str) -> None:
    raise UNSENT[kind]()


@app.task
def several() -> None:
    raise ExceptionGroup(
        "several", [KeyError("k"), HoldsALock("locked"), ExceptionGroup("below", [ChangesItself("t"), Frozen(2)])]
    )


@app.task
def own_state() -> None:
    raise OwnState("stated", 7)


@app.task
def chain(kind: str) -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise MakesItsText("second", 2) from first
    except MakesItsText as second:
        if kind == "cause":
            raise Frozen(3) from second
        if kind == "context":
            raise Frozen(3)  # noqa: B904 - an implicit cause is what is tried
        if kind == "unsent cause":
            raise Frozen(3) from HoldsALock("locked")
        if kind == "group":
            second.__cause__ = None
            raise ExceptionGroup("g", [_with_cause(Frozen(3), second), ValueError(4)]) from None
        raise Frozen(3) from None


def _with_cause(error: Exception, cause: Exception) -> Exception:
    BaseException.__dict__["__cause__"].__set__(error, cause)
    return error


# ---- errors about other jobs


@app.task
async def nap(duration: float) -> None:
    await asyncio.sleep(duration)


@app.task(timeout=0.05)
async def late() -> None:
    await asyncio.sleep(60)


@app.task
async def awaits(kind: str) -> str:
    """Lets out what became of a child, and hands over its id in the text of a note."""
    if kind == "wait":
        child = nap.apply_async(60)
        try:
            await child.wait(timeout=0.05)
        except TimeoutError as error:
            error.add_note(f"child {child.id}")
            raise
        finally:
            await child.cancel()
    elif kind == "limit":
        await late.apply_async()
    elif kind == "cancel":
        child = nap.options(delay=60).apply_async(0)
        await child.cancel()
        await child
    return ""


# ---- objects of aiotask


@app.task
async def returns(kind: str) -> Any:
    handle = nap.apply_async(0)
    made: dict[str, Callable[[], Any]] = {
        "handle": lambda: handle,
        "list": lambda: [1, {"x": handle}],
        "closure": lambda: lambda: handle,
        "signature": lambda: nap.s(0),
        "app": lambda: (app,),
        "generator": lambda: (n for n in ()),
    }
    return made[kind]()


@app.task
def echo(x: Any) -> Any:
    return x


# ---- at the time limit


@app.task(timeout=0.1)
def tidies_up(path: str, catches: str) -> str:
    """Writes down what it sees at its limit."""
    seen = []
    try:
        time.sleep(60)
    except Exception:
        seen.append("Exception")
    except Interrupted:
        seen.append("Interrupted")
        if catches == "raises on":
            raise
    finally:
        Path(path).write_text(" ".join([*seen, "finally"]))
    return "goes on"
